//! Rows in aligned columns.

use super::output::{Style, visible};
use super::{Failure, Io};

/// Spaces between two columns.
const GAP: usize = 2;

/// A table with a heading. Cells are text of others and made harmless.
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<C: ToString>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(|cell| visible(&cell.to_string())).collect());
    }

    pub(crate) fn print(&self, io: &mut Io) -> Result<(), Failure> {
        self.lines(io.out_style).iter().try_for_each(|line| io.line(line))
    }

    fn lines(&self, style: Style) -> Vec<String> {
        let widths: Vec<usize> = (0..self.heading.len()).map(|column| self.width(column)).collect();
        let heading = self.heading.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut lines = vec![style.dim(&line(&heading, &widths))];
        lines.extend(self.rows.iter().map(|row| line(row, &widths)));
        lines
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([self.heading[column].len()]).max().unwrap_or(0)
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(["a", "1000"]);
        table.row(["längerer", "1"]);
        let (mut io, out, _) = scripted::io("", &[]);
        table.print(&mut io).unwrap();
        assert_eq!(out.text(), "NAME      N\na         1000\nlängerer  1\n");
    }

    #[test]
    fn cells_cannot_reach_the_terminal() {
        let mut table = Table::new(&["USER"]);
        table.row(["\x1b[31mred\nline"]);
        assert_eq!(table.lines(Style::default())[1], "\\u001b[31mred\\u000aline");
    }
}
