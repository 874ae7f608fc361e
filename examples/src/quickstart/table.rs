//! A plain-text table whose columns line up.

/// How the cells of one column are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading; widths are found when it is rendered.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table from its headings.
    pub(super) fn new(headings: &[(&str, Align)]) -> Self {
        Table {
            columns: headings.iter().map(|(_, align)| *align).collect(),
            rows: vec![headings.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    /// Adds a row; missing cells are blank, cells beyond the headings are not shown.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Renders every row indented by two spaces, columns two spaces apart, without trailing blanks.
    pub(super) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(&widths).zip(&self.columns) {
                line.push_str(&pad(cell, *width, *align));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

fn pad(cell: &str, width: usize, align: Align) -> String {
    match align {
        Align::Left => format!("  {cell:<width$}"),
        Align::Right => format!("  {cell:>width$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_set_left_and_numbers_right() {
        let mut table = Table::new(&[("type", Align::Left), ("count", Align::Right)]);
        table.row(["order.placed".into(), "7".into()]);
        table.row(["é".into(), "1,000".into()]);
        let expected = "  type          count\n  order.placed      7\n  é             1,000\n";
        assert_eq!(table.render(), expected);
    }
}
