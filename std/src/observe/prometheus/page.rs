//! One page of metrics: families of samples in Prometheus' text format.

use std::fmt::{Display, Write};

/// The name of a label and its value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// What a family is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The page, as far as it is written. Writing to text cannot fail.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Begins a family: all samples up to the next one are its own.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample.
    pub(super) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(name);
        let mut before = '{';
        for (label, value) in labels {
            self.text.push(before);
            self.text.push_str(label);
            self.text.push_str("=\"");
            value.chars().for_each(|c| self.escaped(c));
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A character of a label's value.
    fn escaped(&mut self, c: char) {
        match c {
            '\\' => self.text.push_str("\\\\"),
            '"' => self.text.push_str("\\\""),
            '\n' => self.text.push_str("\\n"),
            c => self.text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_forge_a_sample() {
        let mut page = Page::default();
        page.sample("m", &[("handler", "a\"} 1\nm{x=\"b\\"), ("lane", "inline")], 7_u64);
        assert_eq!(page.into_text(), "m{handler=\"a\\\"} 1\\nm{x=\\\"b\\\\\",lane=\"inline\"} 7\n");
    }
}
