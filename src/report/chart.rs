//! A soak as a picture: its good time as a line towards what is needed, and every sample that was not good as a mark.
//!
//! The SVG has no style of its own but classes, so that it obeys a strict content security policy; its title and
//! description say the same in words.

use std::fmt::Write;

use super::guard;
use super::human::{duration, time};
use super::story::SoakStory;
use crate::plan::recorded::Soak;
use crate::saga::{Sample, Soaking, Stamp, Tail};
use jiff::tz::TimeZone;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 34.0;

/// Text for HTML and SVG: what acts there is written as an entity.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in guard::line(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A text with names in backticks, for HTML: everything is escaped, and what stands in backticks is code.
pub fn prose_html(text: &str) -> String {
    let safe = escape(text);
    let parts: Vec<&str> = safe.split('`').collect();
    // Without a partner the last backtick is one.
    let pairs = (parts.len() - 1) / 2 * 2;
    let mut html = String::with_capacity(safe.len() + 16);
    for (place, part) in parts.iter().enumerate() {
        match place {
            0 => {}
            _ if place > pairs => html.push('`'),
            _ if place % 2 == 1 => html.push_str("<code>"),
            _ => html.push_str("</code>"),
        }
        html.push_str(part);
    }
    html
}

/// What a soak has come to, in words: `6 h of 3 d healthy, 72 good, 1 bad samples, 7 bad samples are still borne`.
pub fn soak_words(story: &SoakStory, terms: &Soak, healthy_ms: u64) -> String {
    let [good, bad, inconclusive] = story.samples;
    let mut text =
        format!("{} of {} healthy; {good} good, {bad} bad", duration(healthy_ms), duration(terms.for_ms));
    if inconclusive > 0 {
        let _ = write!(text, ", {inconclusive} inconclusive");
    }
    text.push_str(" samples");
    match Soaking::budget(terms) {
        Some(budget) => {
            let left = budget.saturating_sub(bad);
            let _ = write!(text, "; budget: {left} of {budget} bad samples left");
        }
        None => {
            let rows = terms.max_consecutive_failures;
            let _ = write!(text, "; budget: at most {rows} bad in a row");
        }
    }
    match story.ended {
        Some((_, true)) => text.push_str("; it passed"),
        Some((_, false)) => text.push_str("; it failed"),
        None => {}
    }
    text
}

/// The chart of a soak. `tail`: the good samples that are no events yet; `id` tells it from others on its page.
pub fn soak_svg(id: &str, story: &SoakStory, terms: &Soak, tail: Option<&Tail>, now: &Stamp) -> String {
    let saved = story.healthy.last().map_or(0, |(_, ms)| *ms);
    let healthy_ms = saved + tail.map_or(0, |tail| tail.good_ms);
    let mut points: Vec<(u64, u64)> =
        story.healthy.iter().map(|(at, ms)| (at.since_ms(&story.began), *ms)).collect();
    if let Some((tail, last)) = tail.and_then(|tail| Some((tail, tail.last?))) {
        points.push((last.since_ms(&story.began), saved + tail.good_ms));
    }
    let end = story.ended.map_or(*now, |(at, _)| at).since_ms(&story.began);
    points.push((end, healthy_ms));
    points.sort_unstable();
    // Until it is over, what is still needed is drawn as the way that is left.
    let left_ms = if story.ended.is_some() { 0 } else { terms.for_ms.saturating_sub(healthy_ms) };
    let span = (end + left_ms).max(1) as f64;
    let goal = terms.for_ms.max(1) as f64;
    let x = |ms: u64| LEFT + (WIDTH - LEFT - RIGHT) * (ms as f64 / span).min(1.0);
    let y = |ms: u64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (ms as f64 / goal).min(1.0);
    let words = escape(&soak_words(&counted(story, tail), terms, healthy_ms));
    let id = escape(id);
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"chart-{id}-title chart-{id}-words\">\
         <title id=\"chart-{id}-title\">Soak of step {id}: healthy time</title>\
         <desc id=\"chart-{id}-words\">{words}</desc>"
    );
    for quarter in 0..=4_u64 {
        let ms = terms.for_ms * quarter / 4;
        let class = if quarter == 4 { "goal" } else { "grid" };
        let _ = write!(
            svg,
            "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(ms) + 4.0,
            if quarter == 0 { "0".to_owned() } else { duration(ms) },
            y = y(ms),
        );
    }
    for (from, to) in &story.lost {
        let (from, to) = (from.since_ms(&story.began), to.map_or(end, |to| to.since_ms(&story.began)));
        let _ = write!(
            svg,
            "<rect class=\"lost\" x=\"{:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>the way back was lost</title></rect>",
            x(from),
            (x(to) - x(from)).max(2.0),
            HEIGHT - TOP - BOTTOM,
        );
    }
    let path: Vec<String> = points.iter().map(|(at, ms)| format!("{:.1},{:.1}", x(*at), y(*ms))).collect();
    let _ = write!(
        svg,
        "<polygon class=\"area\" points=\"{:.1},{base:.1} {} {:.1},{base:.1}\"/>\
         <polyline class=\"line\" points=\"{}\"/>",
        x(0),
        path.join(" "),
        x(end),
        path.join(" "),
        base = y(0),
    );
    if left_ms > 0 {
        let _ = write!(
            svg,
            "<line class=\"ahead\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            x(end),
            y(healthy_ms),
            x(end + left_ms),
            y(healthy_ms + left_ms),
        );
    }
    for (at, sample, why) in &story.marks {
        let since = at.since_ms(&story.began);
        let before = points.iter().rev().find(|(point, _)| *point <= since).map_or(0, |(_, ms)| *ms);
        let (cx, cy) = (x(since), y(before));
        let why = escape(&format!("{}: {why}", time(at, &TimeZone::UTC)));
        // A cross for a bad one, an empty circle for one that could not look: told apart without colour.
        let _ = match sample {
            Sample::Bad => write!(
                svg,
                "<path class=\"mark bad\" d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\"><title>bad, {why}</title></path>",
                cx - 5.0,
                cy - 5.0,
            ),
            Sample::Inconclusive | Sample::Good => write!(
                svg,
                "<circle class=\"mark unknown\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4.5\">\
                 <title>inconclusive, {why}</title></circle>"
            ),
        };
    }
    let _ = write!(
        svg,
        "<text class=\"tick\" x=\"{LEFT}\" y=\"{base}\">{}</text>\
         <text class=\"tick\" x=\"{:.1}\" y=\"{base}\" text-anchor=\"end\">{}</text></svg>",
        escape(&time(&story.began, &TimeZone::UTC).replace('T', " ").replace('Z', "")),
        WIDTH - RIGHT,
        if left_ms > 0 {
            format!("{} still needed", duration(left_ms))
        } else {
            escape(&format!("{} in all", duration(end)))
        },
        base = HEIGHT - 10.0,
    );
    svg
}

/// The story with the good samples that are no events yet.
fn counted(story: &SoakStory, tail: Option<&Tail>) -> SoakStory {
    let mut story = story.clone();
    story.samples[0] += tail.map_or(0, |tail| tail.good);
    story
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_acts_in_html() {
        assert_eq!(prose_html("step `a` <b>"), "step <code>a</code> &lt;b&gt;");
        assert_eq!(prose_html("`a` and `"), "<code>a</code> and `");
        assert_eq!(prose_html("`<script>`"), "<code>&lt;script&gt;</code>");
        assert_eq!(prose_html("a"), "a");
    }
}
