//! Proxmox VE: containers and virtual machines of a host.

use super::{Entry, Field, FieldType, Kind, ON_STOP_FINISH, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "lxc.stop",
        kind: Kind::Action,
        doc: "Shuts a container down cleanly with `pct shutdown`, and sets its `onboot`. A lock such as that of a backup is \
              waited for, as long as the step's `timeout` lets it. Both come back as they were on the way back. The output \
              `digest` is that of its configuration as it is then, for the check `lxc`.",
        fields: &[HOST, VMID, ONBOOT, WITHIN, KILL, ON_STOP_FINISH],
        own_inverse: true,
        way_back: "started again, its `onboot` as it was",
        own_probe: true,
        outputs: &["digest"],
        ..PLAIN
    },
    Entry {
        name: "lxc.start",
        kind: Kind::Action,
        doc: "Starts a container, and sets its `onboot`. Both come back as they were on the way back. The output \
              `digest` is that of its configuration as it is then.",
        fields: &[HOST, VMID, ONBOOT, WITHIN, ON_STOP_FINISH],
        own_inverse: true,
        way_back: "stopped again, its `onboot` as it was",
        own_probe: true,
        outputs: &["digest"],
        ..PLAIN
    },
    Entry {
        name: "lxc.snapshot",
        kind: Kind::Action,
        doc: "Takes a snapshot of a container; impossible when one of its mounts is a folder of the host. The way back deletes \
              it, unless it was there before.",
        fields: &[HOST, VMID, SNAPSHOT, DESCRIPTION, ON_STOP_FINISH],
        own_inverse: true,
        way_back: "the snapshot is deleted",
        own_probe: true,
        ..PLAIN
    },
    Entry {
        name: "lxc.backup",
        kind: Kind::Action,
        doc: "Backs a container up with `vzdump` and sees that the archive is there. Outputs: `archive` (its volume id), \
              `bytes`, `made` (seconds since 1970) and `lacks`, the mounts that it does not hold.",
        fields: &[HOST, VMID, STORAGE, MODE, ON_STOP_FINISH],
        own_probe: true,
        nothing_to_undo: true,
        outputs: &["archive", "bytes", "lacks", "made"],
        ..PLAIN
    },
    Entry {
        name: "lxc.destroy",
        kind: Kind::Action,
        doc: "Destroys a container with every volume that it owns. It refuses one that runs, is protected, locked, has \
              another hostname, or owns a volume that is not named. The way back restores `archive`, which must hold every \
              owned volume; else the step needs `irreversible`.",
        fields: &[HOST, VMID, HOSTNAME, VOLUMES, ARCHIVE, PURGE, ON_STOP_FINISH],
        own_inverse: true,
        way_back: "restored from the archive",
        own_probe: true,
        deletes_data: true,
        ..PLAIN
    },
    Entry {
        name: "vm.exec",
        kind: Kind::Action,
        doc: "Runs a command in a virtual machine by its guest agent and waits for its end; exit status 0 in the guest is \
              success. One that still runs after the step's `timeout` is cut off, and its end is asked for later.",
        fields: &[HOST, VMID_VM, ARGV, SCRIPT, STDIN, OUTPUTS, ON_STOP_FINISH],
        one_of: &["argv", "script"],
        outputs_from_probe: true,
        ..PLAIN
    },
    Entry {
        name: "lxc",
        kind: Kind::Check,
        doc: "Looks at a container: `holds` when it is there and is as the fields say, `partial` when some of them are \
              another, `absent` when all are or it is not there.",
        fields: &[
            HOST,
            VMID,
            STATUS,
            ONBOOT_LOOK,
            EXISTS,
            HOSTNAME_LOOK,
            STARTABLE,
            ARCHIVE_LOOK,
            DIGEST,
            TIMEOUT,
        ],
        ..PLAIN
    },
    Entry {
        name: "vm",
        kind: Kind::Check,
        doc: "Looks at a virtual machine: `holds` when it is there and is as the fields say, `partial` when some of them are \
              another, `absent` when all are or it is not there.",
        fields: &[HOST, VMID_VM, STATUS, ONBOOT_LOOK, EXISTS, AGENT, TIMEOUT],
        ..PLAIN
    },
];

const HOST: Field =
    Field { required: true, ..field("host", FieldType::Host, "The Proxmox node that owns the guest.") };
const VMID: Field = Field { required: true, ..field("vmid", FieldType::Integer, "The id of the container.") };
const VMID_VM: Field =
    Field { required: true, ..field("vmid", FieldType::Integer, "The id of the virtual machine.") };
const ONBOOT: Field = field(
    "onboot",
    FieldType::Bool,
    "Whether it is started with the host from now on; absent: left as it is.",
);
const ONBOOT_LOOK: Field = field(
    "onboot",
    FieldType::Bool,
    "Whether it is started with the host; no line in its configuration is `false`.",
);
const WITHIN: Field = Field {
    default: Some("\"3m\""),
    ..field(
        "within",
        FieldType::Duration,
        "How long a clean shutdown may take; shorter than the step's `timeout`.",
    )
};
const KILL: Field = Field {
    default: Some("false"),
    ..field(
        "kill",
        FieldType::Bool,
        "Kill it when it has not shut down in that time; what it serves sees it vanish.",
    )
};
const SNAPSHOT: Field = Field {
    required: true,
    ..field(
        "snapshot",
        FieldType::Text,
        "The name: a letter, then letters, digits, `_` and `-`; 40 characters at most.",
    )
};
const DESCRIPTION: Field =
    field("description", FieldType::Text, "What it is for; absent: the run that made it.");
const STORAGE: Field =
    Field { required: true, ..field("storage", FieldType::Text, "The storage that takes the archive.") };
const MODE: Field = Field {
    default: Some("\"snapshot\""),
    ..field(
        "mode",
        FieldType::OneOf(&["snapshot", "suspend", "stop"]),
        "How it is held still meanwhile; a stopped one is always backed up in mode `stop`.",
    )
};
const HOSTNAME: Field = Field {
    required: true,
    ..field("hostname", FieldType::Text, "Its hostname, so that a wrong id destroys nothing.")
};
const HOSTNAME_LOOK: Field = field("hostname", FieldType::Text, "Its hostname.");
const VOLUMES: Field = Field {
    default: Some("[\"rootfs\"]"),
    ..field(
        "volumes",
        FieldType::TextArray,
        "The owned volumes that may go with it, such as `rootfs`, `mp1`, `unused0`.",
    )
};
const ARCHIVE: Field = Field {
    comes_later: true,
    ..field(
        "archive",
        FieldType::Text,
        "The archive to come back from: the output `archive` of `lxc.backup`.",
    )
};
const ARCHIVE_LOOK: Field = field("archive", FieldType::Text, "An archive that is there.");
const PURGE: Field = Field {
    default: Some("false"),
    ..field("purge", FieldType::Bool, "Take it out of backup jobs, replication and HA too.")
};
const ARGV: Field = field(
    "argv",
    FieldType::TextArray,
    "The program and its arguments, word by word; no shell reads them, and the process lists of host and guest show them.",
);
const SCRIPT: Field =
    Field { shell: true, ..field("script", FieldType::Text, "A script for the guest's `sh -c`.") };
const STDIN: Field = Field {
    secrets: true,
    ..field("stdin", FieldType::Text, "What the program reads on its standard input, 1 MiB at most.")
};
const OUTPUTS: Field = field(
    "outputs",
    FieldType::Outputs,
    "What later steps may use: `\"text\"` is the standard output without its last line break, `\"/a/b\"` a JSON \
     pointer into it.",
);
const STATUS: Field = field("status", FieldType::OneOf(&["running", "stopped"]), "Its state.");
const EXISTS: Field = field(
    "exists",
    FieldType::Bool,
    "`true`: it is there; `false`: it holds when no node of the cluster has it.",
);
const STARTABLE: Field = field(
    "startable",
    FieldType::Bool,
    "`true`: every device and folder of the host that it is given is there, its hook script too, and it is not locked.",
);
const DIGEST: Field = field(
    "digest",
    FieldType::Text,
    "The digest of its configuration, the output `digest` of `lxc.stop` or the fact `digest` of an earlier look: it tells whether anybody has edited it.",
);
const AGENT: Field = field("agent", FieldType::Bool, "Whether its guest agent answers.");
