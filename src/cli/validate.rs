//! `runner validate`: static checks of plans; touches nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::fail::Fail;
use super::session::Session;
use super::source::{self, PlanFile};
use crate::plan::Required;
use crate::report::{SHOWN_VERSION, exit};

#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  runner validate plans/*.toml")]
pub(super) struct ValidateArgs {
    /// The plan files
    #[arg(value_name = "PLAN", required = true)]
    plans: Vec<PathBuf>,
    /// Set a variable; may be repeated
    ///
    /// Example: runner validate plans/hello.toml --var folder=/tmp/elsewhere
    #[arg(long, value_name = "NAME=VALUE", value_hint = clap::ValueHint::Other, value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables from a TOML file; may be repeated
    ///
    /// Example: runner validate plans/remote.toml --var-file hosts.toml
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
}

pub(super) fn run(session: &Session, args: &ValidateArgs) -> Result<u8, Fail> {
    let mut code = exit::COMPLETE;
    for plan in &args.plans {
        let result = PlanFile::read(plan, &args.var, &args.var_file).and_then(|file| {
            let loaded = file.load(session, &BTreeMap::new(), Required::TakenAsPresent)?;
            Ok((file, loaded))
        });
        match result {
            Ok((file, loaded)) => {
                for note in &loaded.notes {
                    session.note(note.render(session.color_err, session.look().width).trim_end());
                }
                // One that was forgotten is not an error, and may lead to another house.
                let left = file.left_to_the_plan(&loaded.definition);
                if !left.is_empty() {
                    session.note(&format!(
                        "Nobody gives these variables, so they are as the plan has them: `{}`.",
                        left.join("`, `")
                    ));
                }
                let steps = loaded.definition.steps.len();
                if session.json {
                    let line = serde_json::json!({
                        "v": SHOWN_VERSION, "type": "valid", "file": loaded.definition.path,
                        "plan": loaded.definition.name, "steps": steps,
                    });
                    session.say(&format!("{line}\n"));
                } else {
                    let many = if steps == 1 { "step" } else { "steps" };
                    session.say(&format!("{}: valid, {steps} {many}\n", plan.display()));
                }
            }
            Err(fail) => {
                // Every plan is looked at, whatever the one before said.
                session.fail(&fail);
                code = fail.code;
            }
        }
    }
    Ok(code)
}
