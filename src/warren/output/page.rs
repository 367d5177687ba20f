//! What people see of a result: fields one below the other, and tables.

use comfy_table::{Table, presets};

/// The widest field name that others are aligned to.
const NAME_WIDTH_MAX: usize = 24;

/// Gathers the text of one result.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    /// Fields that wait for their common width.
    fields: Vec<(String, String)>,
    /// A terminal gets bold headers; a pipe gets what `awk` and `cut` can take.
    terminal: bool,
}

impl Page {
    pub(crate) fn new(terminal: bool) -> Self {
        Self { text: String::new(), fields: Vec::new(), terminal }
    }

    /// One named value; an empty one is left out.
    pub(crate) fn field(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        if !value.is_empty() {
            self.fields.push((name.to_owned(), value));
        }
    }

    /// A table with a blank line above it if anything stands there. Without rows only the header is shown.
    pub(crate) fn table(&mut self, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        self.flush_fields();
        self.gap();
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(columns.iter().map(ToString::to_string).collect::<Vec<_>>());
        for row in rows {
            table.add_row(row.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { cell }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for (number, line) in table.lines().enumerate() {
            let line = line.trim_end();
            if number == 0 && self.terminal {
                self.text.push_str(&format!("\x1b[1m{line}\x1b[0m\n"));
            } else {
                self.text.push_str(&format!("{line}\n"));
            }
        }
    }

    /// Lines as they are.
    pub(crate) fn lines<S: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = S>) {
        self.flush_fields();
        for line in lines {
            self.text.push_str(line.as_ref());
            self.text.push('\n');
        }
    }

    pub(crate) fn finish(mut self) -> String {
        self.flush_fields();
        self.text
    }

    fn flush_fields(&mut self) {
        let fields = std::mem::take(&mut self.fields);
        if fields.is_empty() {
            return;
        }
        self.gap();
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default().min(NAME_WIDTH_MAX);
        for (name, value) in fields {
            let mut lines = value.lines();
            self.text.push_str(&format!("{name:width$}  {}\n", lines.next().unwrap_or_default()));
            for line in lines {
                self.text.push_str(&format!("{:width$}  {line}\n", ""));
            }
        }
    }

    fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_align_and_empty_ones_are_left_out() {
        let mut page = Page::new(false);
        page.field("group", "demo");
        page.field("customer", "");
        page.field("leader", "agt-1\nagt-2");
        page.table(&["A", "B"], [vec!["1".into(), String::new()], vec!["long".into(), "x".into()]]);
        assert_eq!(
            page.finish(),
            "group   demo\nleader  agt-1\n        agt-2\n\nA     B\n1     -\nlong  x\n"
        );
    }

    #[test]
    fn long_ids_are_never_cut() {
        let mut page = Page::new(true);
        let id = "agt-".repeat(60);
        page.table(&["ID"], [vec![id.clone()]]);
        assert!(page.finish().contains(&id));
    }
}
