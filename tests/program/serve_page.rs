//! Goal: from the page alone a person begins a run, watches it live, approves, sees a soak fail, and rolls back, on a
//! desktop and on a phone, in light and in dark. Method: a real browser; pictures of every stop lie under `target/page`.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::serve_support;
use crate::worlds_support;

use crate::serve_support::browser;

use std::path::PathBuf;

use browser::{Browser, Key};
use serve_support::{Serve, until};
use worlds_support::House;

/// Prepare, ask, move, watch: what a move is in small.
const MOVE: &str = r#"
description = "A rehearsal: prepare, ask, move, watch"

[vars]
place = "new"

[[step]]
id = "prepare"
summary = "Write the configuration"
needs = []
forward = { action = "file", path = "../work/config", content = "port = 5000\n", parents = true }

[[step]]
id = "announce"
summary = "Say what comes"
needs = []
forward = { action = "command", argv = ["echo", "<script>document.title='owned'</script>", "{{ vars.place }}"] }
compensate = "nothing"

[[step]]
id = "switch"
summary = "Point everybody at the new place"
needs = ["prepare", "announce"]
approve = "Switch everybody to `{{ vars.place }}`?"
evidence = [{ check = "file", path = "../work/config", contains = "5000" }]
forward = { action = "file", path = "../work/switched", content = "yes" }

[[step]]
id = "soak"
summary = "Watch it for a while"
soak = { for = "1h", every = "200ms", max_consecutive_failures = 2, error_budget = "1%" }
verify = [{ check = "file", path = "../work/config", contains = "5000" }]
"#;

/// What would hurt somebody who uses a keyboard or a screen reader: as JSON, nothing when all is well.
const UNFIT: &str = r##"
const bad = [];
const seen = {};
document.querySelectorAll("[id]").forEach((e) => { if (seen[e.id]) bad.push("two elements have the id " + e.id); seen[e.id] = 1; });
document.querySelectorAll("input:not([type=hidden]), textarea, select").forEach((e) => {
  if (!e.labels.length || !e.labels[0].textContent.trim()) bad.push("a field without a label: " + e.outerHTML);
});
document.querySelectorAll("a, button, summary").forEach((e) => { if (!e.textContent.trim()) bad.push("nothing to read out: " + e.outerHTML); });
document.querySelectorAll("svg:not([aria-hidden])").forEach((e) => {
  const said = e.getAttribute("aria-label") || e.querySelector("title");
  if (!said) bad.push("a picture without words: " + e.outerHTML.slice(0, 80));
});
document.querySelectorAll("[aria-labelledby]").forEach((e) => {
  for (const id of e.getAttribute("aria-labelledby").split(" ")) if (!document.getElementById(id)) bad.push("no element " + id);
});
let level = 0;
document.querySelectorAll("h1, h2, h3, h4").forEach((e) => {
  const now = Number(e.tagName[1]);
  if (now > level + 1) bad.push("a heading leaves a level out: " + e.innerText);
  level = now;
});
if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
if (!document.documentElement.lang) bad.push("no language");
if (document.documentElement.scrollWidth > innerWidth) bad.push("wider than the screen: " + document.documentElement.scrollWidth);
document.querySelectorAll("button, a.button, summary, input:not([type=hidden])").forEach((e) => {
  const box = e.getBoundingClientRect();
  if (box.height && box.height < 24) bad.push("too small to be hit: " + e.outerHTML.slice(0, 80));
});
// WCAG 2.2, 1.4.3: text stands out from its ground at 4.5 to 1.
const parts = (c) => (c.match(/[\d.]+/g) || []).map(Number);
const light = (c) => { const [r, g, b] = parts(c).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; const p = parts(c); if (p.length === 3 || p[3] > 0) return c; } return "rgb(255,255,255)"; };
document.querySelectorAll("body *:not(svg *)").forEach((e) => {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !e.getClientRects().length) return;
  const one = light(getComputedStyle(e).color), other = light(ground(e));
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < 4.5) bad.push("contrast " + ratio.toFixed(2) + ": " + e.outerHTML.slice(0, 80));
});
return bad;
"##;

/// axe-core (npm), which judges pages as Deque does; nothing where it cannot be had. It stays in the user's cache.
fn axe() -> Option<String> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("runner-tests");
    let script = cache.join(format!("axe-core-{AXE}/node_modules/axe-core/axe.min.js"));
    if !script.exists() {
        std::fs::create_dir_all(&cache).ok()?;
        // Into a folder of its own first: another test may be at it, and npm may be cut off.
        let fresh = tempfile::Builder::new().prefix("axe").tempdir_in(&cache).ok()?;
        let install = || {
            std::process::Command::new("npm")
                .args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
                .arg(fresh.path())
                .arg(format!("axe-core@{AXE}"))
                .output()
                .is_ok_and(|output| output.status.success())
        };
        // A registry that does not answer once may answer the next time.
        if !(0..3).any(|_| install()) {
            return None;
        }
        drop(std::fs::rename(fresh.keep(), cache.join(format!("axe-core-{AXE}"))));
    }
    std::fs::read_to_string(script).ok()
}

/// The version of axe-core that judges.
const AXE: &str = "4.14.1";

/// What axe finds that is serious or worse: as JSON, nothing when all is well.
const JUDGE: &str = r#"
return axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations
  .filter((v) => v.impact === "serious" || v.impact === "critical")
  .map((v) => v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html.slice(0, 120)).join(" | ")));
"#;

/// Where the focus is: the name of a field, the text of a button.
const FOCUS: &str = "const at = document.activeElement; return at.name || at.innerText";

struct Look<'a> {
    browser: &'a Browser,
    name: &'static str,
    axe: Option<&'a str>,
}

impl Look<'_> {
    /// A picture, and nothing that would hurt anybody.
    #[track_caller]
    fn fit(&self, stop: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("page");
        std::fs::create_dir_all(&folder).unwrap();
        self.browser.picture(&folder.join(format!("{}-{stop}.png", self.name)));
        let unfit = self.browser.script(UNFIT);
        assert!(unfit.as_array().is_some_and(Vec::is_empty), "{} {stop}: {unfit:#}", self.name);
        if let Some(axe) = self.axe {
            // The page is loaded anew at some stops, and axe with it.
            if self.browser.script("return typeof window.axe") == "undefined" {
                self.browser.script(axe);
            }
            let serious = self.browser.script(JUDGE);
            assert!(serious.as_array().is_some_and(Vec::is_empty), "{} {stop}: {serious:#}", self.name);
        }
    }
}

fn the_whole_way(browser: &Browser, axe: Option<&str>, name: &'static str, size: (u32, u32, bool)) {
    let house = House::new();
    house.plan("move", MOVE);
    let serve = Serve::start(house.runner(&["serve", "--plans", "plans"])).ready();
    let url = format!("http://{}", serve.address);
    let look = Look { browser, name, axe };
    browser.size(size.0, size.1, size.2);

    browser.go(&format!("{url}/"));
    browser.says("There are no runs yet");
    browser.click("#plan-move summary");
    browser.write("#plan-move textarea", "place = attic");
    browser.write("#plan-move input[name=by]", "ann");
    look.fit("1-begin");
    browser.click("#plan-move button.yes");

    browser.says("Switch everybody to attic?");
    assert_eq!(browser.script("return document.title"), "move-1 is open, waits for you");
    browser.click("#step-announce summary");
    browser.says("<script>document.title='owned'</script> attic");
    look.fit("2-asks");
    // A key hit by accident approves nothing; who means it goes on to the button, with the keyboard alone.
    browser.write("#questions input[name=note]", "seen it");
    browser.press(Key::Enter);
    browser.write("#questions input[name=by]", "ann");
    browser.press(Key::Enter);
    assert_eq!(serve.step("move-1", "switch"), "awaiting_approval", "Enter in a field approved");
    assert_eq!(browser.script(FOCUS), "by");
    browser.press(Key::Tab);
    assert_eq!(browser.script(FOCUS), "Approve");
    browser.press(Key::Enter);

    // From here on nobody loads the page again: it is told.
    browser.says("healthy;");
    browser.script("window.here = 1");
    until("samples are counted live", || {
        let text = browser.text();
        let good =
            text.split("healthy; ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        good.is_some_and(|good| good > 5)
    });
    look.fit("3-soaks");
    house.write("work/config", "port = 1\n");
    browser.says("it failed");
    browser.says("halted");
    assert_eq!(browser.script("return window.here"), 1, "the page was loaded again");
    assert!(browser.script("return document.querySelectorAll('.mark.bad').length").as_u64().unwrap() >= 3);
    look.fit("4-failed");

    browser.click("a.button[href$='sure/rollback']");
    browser.says("Undone, in this order");
    look.fit("5-sure");
    browser.write("input[name=by]", "ann");
    browser.press(Key::Enter);
    assert_eq!(serve.standing("move-1"), "halted", "Enter in a field began the rollback");
    browser.press(Key::Tab);
    browser.press(Key::Enter);
    browser.says("is rolled back: everything that this run did is undone");
    look.fit("6-back");
    assert_eq!(serve.standing("move-1"), "rolled_back");
    assert!(!house.path.join("work/switched").exists());

    browser.go(&format!("{url}/"));
    browser.says("rolled back");
    look.fit("7-list");
    browser.go(&format!("{url}/runs/nobody"));
    browser.says("there is no run");
    look.fit("8-nothing");
    let complaints: Vec<String> =
        browser.complaints().into_iter().filter(|line| !line.contains("404")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_person_does_the_whole_way_from_the_page() {
    let Some(browser) = Browser::start() else {
        return worlds_support::skipped("there is no chromium with its driver: the page is not looked at");
    };
    let axe = axe();
    if axe.is_none() {
        worlds_support::skipped("there is no npm, or it reaches no registry: axe-core judges no page");
    }
    the_whole_way(&browser, axe.as_deref(), "desktop", (1280, 1400, false));
    the_whole_way(&browser, axe.as_deref(), "phone", (390, 1400, true));
    three_days(&browser, axe.as_deref());
}

/// Days pass by a clock that leaps, with some bad hours in them: what is seen of them is a chart.
fn three_days(browser: &Browser, axe: Option<&str>) {
    let house = House::new();
    let soak = "for = \"3d\", every = \"2h\", max_consecutive_failures = 3";
    let ill = "n=$(wc -l < ../looks); echo >> ../looks; test $n -lt 10 || test $n -gt 12";
    house.write("looks", "");
    house.plan(
        "days",
        &format!("[[step]]\nid = \"soak\"\nsoak = {{ {soak} }}\nverify = [{{ check = \"command\", script = '{ill}' }}]\n"),
    );
    let clock = house.write("clock", "0 0 leaps");
    let mut command = house.runner(&["serve", "--plans", "plans"]);
    command.env("RUNNER_TEST_CLOCK", clock);
    let serve = Serve::start(command).ready();
    let look = Look { browser, name: "days", axe };
    browser.size(1280, 1000, false);
    browser.go(&format!("http://{}/", serve.address));
    browser.click("#plan-days summary");
    browser.click("#plan-days button.yes");
    browser.says("days-1 is complete");
    // What the machine itself takes between two leaps may ask for one sample more.
    browser.says(" of 3 d healthy; ");
    browser.says(" 3 bad");
    assert_eq!(browser.script("return document.querySelectorAll('svg.chart').length"), 1);
    assert!(browser.script("return document.querySelectorAll('.mark.bad').length").as_u64().unwrap() >= 1);
    look.fit("chart");
}

/// Enter in a field presses the first button that submits: no form that changes a run may have one that does something.
#[test]
fn enter_in_a_field_changes_nothing() {
    let house = House::new();
    house.plan("move", MOVE);
    let cut = "[[step]]\nid = \"it\"\ntimeout = \"100ms\"\ncompensate = \"nothing\"\n\
               forward = { action = \"command\", argv = [\"sleep\", \"60\"] }\n";
    house.plan("cut", cut);
    let serve = Serve::start(house.runner(&["serve", "--plans", "plans"])).ready();
    for plan in ["move", "cut"] {
        assert_eq!(serve.post("/api/v1/runs", &serde_json::json!({ "plan": plan })).status, 201);
    }
    until("it asks", || serve.step("move-1", "switch") == "awaiting_approval");
    until("it needs somebody", || serve.standing("cut-1") == "needs_attention");
    for (path, word) in [
        ("/", "/begin"),
        ("/runs/move-1", "/say/approve"),
        ("/runs/cut-1", "/say/resolve"),
        ("/runs/move-1/sure/rollback", "/say/rollback"),
    ] {
        let page = serve.get(path).body;
        let forms = page.split("<form").skip(1).map(|rest| rest.split("</form>").next().unwrap());
        let asks = |form: &&str| form.contains("<input type=\"text\"") && form.contains("method=\"post\"");
        let asking: Vec<&str> = forms.filter(asks).collect();
        assert!(asking.iter().any(|form| form.contains(word)), "{path} has no form for {word}: {page}");
        for form in asking {
            let first = form.split("<button").nth(1).unwrap().split('>').next().unwrap();
            assert!(first.contains("disabled") && first.contains("hidden"), "{path}: {form}");
        }
    }
}

#[test]
fn the_page_is_whole_without_a_script() {
    let house = House::new();
    house.plan("move", MOVE);
    let serve = Serve::start(house.runner(&["serve", "--plans", "plans"])).ready();
    let list = serve.get("/");
    let cookie = list.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let form =
        list.body.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let post = |path: &str, body: String| serve.ask("POST", path, &[kind, ("Cookie", &cookie)], &body);
    let begun = post("/begin", format!("form={form}&plan=move&vars=place%3Dloft&by=ann"));
    assert_eq!((begun.status, begun.header("location")), (303, Some("/runs/move-1")), "{begun:?}");
    until("it asks", || serve.get("/runs/move-1").body.contains("Switch everybody to <code>loft</code>?"));
    let said = post("/runs/move-1/say/reject", format!("form={form}&step=switch&note=not+today&by=ann"));
    assert_eq!(said.status, 303, "{said:?}");
    until("it has halted", || serve.standing("move-1") == "halted");
    let page = serve.get("/runs/move-1").body;
    for part in ["not today", "Try again", "What happened", "would undo it"] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    let refused = post("/runs/move-1/say/pause", "form=0".to_owned());
    assert_eq!(refused.status, 409, "{refused:?}");
    let wrong = post("/begin", format!("form={form}&plan=..%2F..%2Fetc%2Fpasswd"));
    assert_eq!(wrong.status, 400, "{wrong:?}");
}
