//! What was asked of a bench beside what came out: the table that ends it.

#![allow(clippy::print_stdout, reason = "the table is the result")]

/// The bars of one bench. Figures of a run with `--test` mean nothing, so that nothing is printed then.
#[derive(Debug, Default)]
pub struct Bars {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    asked: Asked,
    came_out: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    AtMost(f64),
    AtLeast(f64),
    /// Shown beside the bars; nothing was asked.
    Nothing,
}

impl Bars {
    /// Adds a ratio that may be at most `limit`. `None` is a member that was not measured.
    pub fn at_most(&mut self, what: impl Into<String>, limit: f64, came_out: Option<f64>) {
        self.push(what, Asked::AtMost(limit), came_out);
    }

    /// Adds a ratio that must be at least `limit`.
    pub fn at_least(&mut self, what: impl Into<String>, limit: f64, came_out: Option<f64>) {
        self.push(what, Asked::AtLeast(limit), came_out);
    }

    /// Adds a ratio of which nothing is asked.
    pub fn shown(&mut self, what: impl Into<String>, came_out: Option<f64>) {
        self.push(what, Asked::Nothing, came_out);
    }

    fn push(&mut self, what: impl Into<String>, asked: Asked, came_out: Option<f64>) {
        self.rows.push(Row { what: what.into(), asked, came_out });
    }

    /// Prints the table, unless nothing was measured.
    pub fn print(&self) {
        if self.rows.iter().all(|row| row.came_out.is_none()) {
            return;
        }
        println!("\n| bar | asked | came out | |\n|---|---|---|---|");
        for Row { what, asked, came_out } in &self.rows {
            let came = came_out.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} ×"));
            println!("| {what} | {} | {came} | {} |", asked.in_words(), asked.verdict(*came_out));
        }
    }
}

impl Asked {
    fn in_words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {} ×", short(limit)),
            Self::AtLeast(limit) => format!("at least {} ×", short(limit)),
            Self::Nothing => String::new(),
        }
    }

    fn verdict(self, came_out: Option<f64>) -> &'static str {
        match (self, came_out) {
            (_, None) => "not measured",
            (Self::AtMost(limit), Some(ratio)) if ratio <= limit => "met",
            (Self::AtLeast(limit), Some(ratio)) if ratio >= limit => "met",
            (Self::Nothing, _) => "",
            _ => "not met",
        }
    }
}

/// A ratio with two digits behind the point at most.
fn short(ratio: f64) -> String {
    let text = format!("{ratio:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
