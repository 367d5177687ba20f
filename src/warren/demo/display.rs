//! What people see while it runs: live on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Page;

const WAIT: &str = "{spinner} {msg}";
const PROGRESS: &str = "{spinner} {prefix} [{bar:30}] {percent:>3} %\n{msg}";
const TICK: Duration = Duration::from_millis(100);

/// Talks on stdout, or on stderr when stdout is for the report.
#[derive(Debug)]
pub(super) struct Display {
    began: Instant,
    on_stderr: bool,
    /// On a terminal only: one line that turns, and a small table below it.
    bar: Option<ProgressBar>,
}

impl Display {
    pub(super) fn new(on_stderr: bool) -> Self {
        let terminal = if on_stderr { stderr().is_terminal() } else { stdout().is_terminal() };
        let bar = terminal.then(|| {
            let target = if on_stderr { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
            let bar = ProgressBar::with_draw_target(None, target);
            bar.set_style(style(WAIT));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { began: Instant::now(), on_stderr, bar }
    }

    /// Something begins that will take a while; only a terminal shows it.
    pub(super) fn begin(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_style(style(WAIT));
            bar.set_message(what.to_owned());
        }
    }

    /// Something was done.
    pub(super) fn done(&self, what: &str) {
        self.line(&format!("[{:5.1} s] {what}", self.began.elapsed().as_secs_f64()));
    }

    /// How far something has come, with a table that takes the last one's place; only a terminal shows it.
    pub(super) fn progress(&self, what: &str, count: u64, of: u64, columns: &[&str], rows: Vec<Vec<String>>) {
        let Some(bar) = &self.bar else { return };
        bar.set_prefix(what.to_owned());
        bar.set_length(of);
        bar.set_position(count.min(of));
        bar.set_style(style(PROGRESS));
        bar.set_message(table(columns, rows, true));
    }

    /// A table that stays.
    pub(super) fn table(&self, columns: &[&str], rows: Vec<Vec<String>>) {
        for line in table(columns, rows, self.bar.is_some()).lines() {
            self.line(&format!("  {line}"));
        }
    }

    pub(super) fn lines(&self, lines: &[String]) {
        for line in lines {
            self.line(line);
        }
    }

    /// Takes what moves off the terminal; lines may follow.
    pub(super) fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, line: &str) {
        let say = || {
            // Nobody listening is no reason to stop the show.
            let _ = if self.on_stderr { writeln!(stderr(), "{line}") } else { writeln!(stdout(), "{line}") };
        };
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

fn table(columns: &[&str], rows: Vec<Vec<String>>, terminal: bool) -> String {
    let mut page = Page::new(terminal);
    page.table(columns, rows);
    page.finish()
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file.
    ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_well_formed() {
        style(WAIT);
        style(PROGRESS);
    }
}
