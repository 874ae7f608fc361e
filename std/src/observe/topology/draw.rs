//! A graph as a drawing.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Topology;

impl Topology {
    /// The graph for [Graphviz](https://graphviz.org): topics are boxes, handlers ellipses; a dashed arrow is what a type says that
    /// its handlers emit, and was not seen.
    ///
    /// # Cost
    ///
    /// Linear; allocates the text. So do the other drawings.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph bus {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
        for (topic, node) in &self.topics {
            let label = with_line(topic, node.events.map(|events| format!("{events} events")));
            let _ = writeln!(text, "  {} [shape=box, label={}];", quoted(&format!("topic {topic}")), quoted(&label));
        }
        for (number, handler) in self.handlers.iter().enumerate() {
            let label = with_line(&handler.name, Some(format!("{}, {} calls", handler.lane, handler.calls)));
            let _ = writeln!(text, "  \"handler {number}\" [shape=ellipse, label={}];", quoted(&label));
            for topic in &handler.topics {
                let _ = writeln!(text, "  {} -> \"handler {number}\";", quoted(&format!("topic {topic}")));
            }
        }
        for cause in &self.causes {
            let (from, to) = (quoted(&format!("topic {}", cause.from)), quoted(&format!("topic {}", cause.to)));
            let how =
                if cause.seen == 0 { " [style=dashed]".to_owned() } else { format!(" [label=\"{}\"]", cause.seen) };
            let _ = writeln!(text, "  {from} -> {to}{how};");
        }
        text.push_str("}\n");
        text
    }

    /// The graph for [Mermaid](https://mermaid.js.org), which many readers of Markdown draw; as [`to_dot`](Self::to_dot).
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        let numbers: BTreeMap<&str, usize> = self.topics.keys().map(String::as_str).zip(0..).collect();
        let number = |topic: &str| numbers.get(topic).copied();
        for (topic, number) in &numbers {
            let _ = writeln!(text, "  t{number}[\"{}\"]", entities(topic));
        }
        for (handler, own) in self.handlers.iter().zip(0..) {
            let _ = writeln!(text, "  h{own}([\"{}\"])", entities(&handler.name));
            for topic in handler.topics.iter().filter_map(|topic| number(topic)) {
                let _ = writeln!(text, "  t{topic} --> h{own}");
            }
        }
        for cause in &self.causes {
            let (Some(from), Some(to)) = (number(&cause.from), number(&cause.to)) else { continue };
            let _ = match cause.seen {
                0 => writeln!(text, "  t{from} -.-> t{to}"),
                seen => writeln!(text, "  t{from} -->|{seen}| t{to}"),
            };
        }
        text
    }

    /// The graph as a picture; as [`to_dot`](Self::to_dot). Empty for a graph without topics and handlers.
    #[cfg(feature = "svg")]
    #[cfg_attr(docsrs, doc(cfg(feature = "svg")))]
    #[must_use]
    pub fn to_svg(&self) -> String {
        use layout::backends::svg::SVGWriter;
        use layout::gv::{DotParser, GraphBuilder};

        if self.topics.is_empty() && self.handlers.is_empty() {
            return String::new();
        }
        let dot = self.to_dot();
        let Ok(graph) = DotParser::new(&dot).process() else { return String::new() };
        let mut builder = GraphBuilder::new();
        builder.visit_graph(&graph);
        let mut writer = SVGWriter::new();
        builder.get().do_it(false, false, false, &mut writer);
        writer.finalize()
    }
}

fn with_line(first: &str, second: Option<String>) -> String {
    second.map_or_else(|| first.to_owned(), |second| format!("{first}\n{second}"))
}

/// A string of Graphviz.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(if c.is_control() { ' ' } else { c }),
        }
    }
    quoted.push('"');
    quoted
}

/// A label of Mermaid, in which nothing is taken for its own.
fn entities(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | ';' => {
                let _ = write!(label, "#{};", u32::from(c));
            }
            c => label.push(if c.is_control() { ' ' } else { c }),
        }
    }
    label
}
