//! How a page is written, so that it can be followed:
//!
//! * `<!-- folder: /home/me/first -->` opens a new empty folder, which the page shows under that name.
//! * `<!-- file: shop.toml -->` before a fenced block: the block is the content of that file, written there.
//! * A `console` block holds commands behind `$ ` and what they say. A command's comment may name its exit code:
//!   `# exit 4`. `…` alone on a line stands for any lines, within a line for anything.
//! * An `sh` block holds commands alone. A `toml` block is a whole plan.

/// A command, its exit code, and what it says, if the page shows that.
pub(crate) struct Typed {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) said: Option<Vec<String>>,
}

/// A part of a page that means something to a test.
pub(crate) enum Part {
    /// A new folder.
    Folder(String),
    /// A file to write.
    File { path: String, text: String },
    /// Commands.
    Session(Vec<Typed>),
    /// A plan that is only shown.
    Toml(String),
    /// A message.
    Text(String),
    /// Anything else.
    Other,
}

/// The parts of a page, in order.
pub(crate) fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut file = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(order) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            match order.split_once(": ") {
                Some(("folder", shown)) => parts.push(Part::Folder(shown.to_owned())),
                Some(("file", path)) => file = Some(path.to_owned()),
                _ => panic!("no such order: {line}"),
            }
        } else if let Some(language) = line.strip_prefix("```") {
            let text: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            parts.push(match (file.take(), language) {
                (Some(path), _) => Part::File { path, text },
                (None, "console") => Part::Session(session(&text)),
                (None, "sh") => Part::Session(script(&text)),
                (None, "toml") => Part::Toml(text),
                (None, "text") => Part::Text(text),
                (None, _) => Part::Other,
            });
        }
    }
    parts
}

fn typed(line: &str) -> Typed {
    let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
    let code = comment.split("exit ").nth(1).and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    Typed { command: command.trim().to_owned(), code: code.unwrap_or(0), said: None }
}

fn script(text: &str) -> Vec<Typed> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(typed).collect()
}

fn session(text: &str) -> Vec<Typed> {
    let mut session: Vec<Typed> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => session.push(Typed { said: Some(Vec::new()), ..typed(command) }),
            None => session.last_mut().unwrap().said.as_mut().unwrap().push(line.to_owned()),
        }
    }
    session
}

/// The anchors of a page's titles, as they are made for Markdown.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut anchors = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if line.starts_with('#') && !fenced {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            anchors.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    anchors
}
