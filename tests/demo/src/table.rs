//! Prints rows in columns. Knows nothing of their content.

/// Rows under headings; the first column to the left, numbers to the right.
pub(crate) fn print(headings: &[&str], rows: &[Vec<String>]) {
    let headings: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&headings).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    for row in all {
        let cell = |(column, (cell, width)): (usize, (&String, &usize))| match column {
            0 => format!("  {cell:width$}"),
            _ => format!("  {cell:>width$}"),
        };
        let line: String = row.iter().zip(&widths).enumerate().map(cell).collect();
        println!("{line}");
    }
}
