//! The live table on a terminal, and one line a second elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use super::observation::Row;
use super::replay::INCIDENT;

const RED: &str = "\x1b[1;31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Where the table goes.
#[derive(Debug)]
pub struct Screen {
    live: &'static str,
    terminal: bool,
    drawn: usize,
    firing: Vec<String>,
}

impl Screen {
    /// Redraws in place on a terminal. `live` is what the series beside the recordings come from: "this machine".
    #[must_use]
    pub fn new(live: &'static str) -> Self {
        Self { live, terminal: std::io::stdout().is_terminal(), drawn: 0, firing: Vec::new() }
    }

    /// Shows the state of one second. `below` are lines that stand below the table.
    pub fn show(&mut self, position: &str, rows: &[Row], below: &[String]) {
        if self.terminal {
            let mut lines = table(position, rows, self.live, true);
            lines.extend(section(below));
            let mut frame = String::new();
            if self.drawn > 0 {
                // Up to the first line of the frame before, and clear from there.
                let _ = write!(frame, "\x1b[{}A\x1b[J", self.drawn);
            }
            self.drawn = lines.len();
            for line in lines {
                frame.push_str(&line);
                frame.push('\n');
            }
            print!("{frame}");
        } else {
            println!("{}", summary(position, rows, self.live));
            let firing: Vec<_> = rows.iter().filter(|row| row.fires()).map(title).collect();
            for says in rows.iter().filter(|row| !self.firing.contains(&title(row))).filter_map(alert) {
                println!("          ALERT     {says}");
            }
            for name in self.firing.iter().filter(|name| !firing.contains(name)) {
                println!("          resolved  {name}");
            }
            self.firing = firing;
        }
        let _ = std::io::stdout().flush();
    }

    /// Prints lines below the table, which is drawn anew after them.
    pub fn say(&mut self, lines: &[String]) {
        println!();
        for line in lines {
            println!("{line}");
        }
        println!();
        self.drawn = 0;
    }

    /// Prints a line where the table has no place for it: elsewhere than on a terminal.
    pub fn note(&self, line: &str) {
        if !self.terminal {
            println!("          {line}");
        }
    }

    /// Prints the whole table once, for output that is not a terminal.
    pub fn summarize(&mut self, position: &str, rows: &[Row], below: &[String]) {
        if !self.terminal {
            println!();
            for line in table(position, rows, self.live, false).into_iter().chain(section(below)) {
                println!("{line}");
            }
        }
    }
}

/// Lines, set apart from what stands above them.
fn section(lines: &[String]) -> Vec<String> {
    if lines.is_empty() { Vec::new() } else { std::iter::once(String::new()).chain(lines.iter().cloned()).collect() }
}

fn title(row: &Row) -> String {
    match (row.query.as_str(), row.name.as_str()) {
        ("recording", name) => name.to_owned(),
        (query, "") => query.to_owned(),
        (query, name) => format!("{query} {name}"),
    }
}

/// The table: a line with the position, a head, a line for each series, under the name of its origin, and what alerts say.
fn table(position: &str, rows: &[Row], live: &str, colours: bool) -> Vec<String> {
    let paint = |colour: &'static str| if colours { colour } else { "" };
    let plain = paint(PLAIN);
    let sharded = rows.iter().any(|row| row.shard.is_some());
    let column = |shard: &str| if sharded { format!("  {shard:>5}") } else { String::new() };
    let head = format!("{:<26} {:>9}  {:>22}  {:>6}{}  alert", "series", "value", "expected", "score", column("shard"));
    let mut lines = vec![position.to_owned(), String::new(), head];
    let live = format!("{live}, live");
    let mut origin = "";
    for row in rows {
        let its = if row.query == "recording" { "recordings" } else { live.as_str() };
        if its != origin {
            origin = its;
            lines.push(format!("{}{its}{plain}", paint(DIM)));
        }
        let number = |output| row.output(output).map_or_else(|| "-".to_owned(), short);
        let expected = format!("{} .. {}", number("yhat_lower"), number("yhat_upper"));
        let score = row.output("anomaly_score");
        let colour = if row.fires() || score.is_some_and(|score| score > 1.0) { paint(RED) } else { "" };
        let shown = score.map_or_else(|| "-".to_owned(), hundredths);
        let end = if colour.is_empty() { "" } else { plain };
        let alert = if row.fires() { "FIRING" } else { "" };
        let shard = column(&row.shard.map_or_else(String::new, |shard| shard.to_string()));
        let line = format!("  {:<24} {:>9}  {expected:>22}  {shown:>6}{shard}  {alert}", title(row), number("y"));
        lines.push(format!("{colour}{}{end}", line.trim_end()));
    }
    if rows.is_empty() {
        lines.push(format!("  {}nothing is scored yet{plain}", paint(DIM)));
    }
    let alerts = rows.iter().filter_map(alert).flat_map(|says| wrapped(&says)).collect::<Vec<_>>();
    lines.extend(section(&alerts));
    lines
}

/// What the alert of a series says, if it fires.
fn alert(row: &Row) -> Option<String> {
    row.alert.as_ref().map(|says| format!("{}: {says}", title(row)))
}

/// Lines as wide as those of the table, broken between words: the terminal must not break them, which counts lines.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 80;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines
}

/// One line: the incident's series and the highest scores of the others.
fn summary(position: &str, rows: &[Row], live: &str) -> String {
    let highest = |recordings: bool| {
        let others = rows.iter().filter(|row| row.name != INCIDENT && (row.query == "recording") == recordings);
        let scores = others.filter_map(|row| row.output("anomaly_score"));
        scores.reduce(f64::max).map_or_else(|| "-".to_owned(), hundredths)
    };
    let mut line = format!("{position:<44}");
    if let Some(row) = rows.iter().find(|row| row.name == INCIDENT) {
        let number = |output| row.output(output).map_or_else(|| "-".to_owned(), short);
        let score = row.output("anomaly_score").map_or_else(|| "-".to_owned(), hundredths);
        let _ = write!(
            line,
            "  {INCIDENT} {:>6} in {} .. {}, score {score};",
            number("y"),
            number("yhat_lower"),
            number("yhat_upper")
        );
    }
    let _ = write!(line, "  highest score: controls {}, {live} {}", highest(true), highest(false));
    line
}

/// A score, rounded down: the 0.999 of what is no alarm any more must not look like the edge.
fn hundredths(score: f64) -> String {
    /// Far below a hundredth, far above what a product of two decimals is wrong by.
    const ROUNDING: f64 = 1e-9;
    format!("{:.2}", (score * 100.0 + ROUNDING).floor() / 100.0)
}

/// Four digits, with a unit prefix from 10,000 on.
fn short(value: f64) -> String {
    let prefixes = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    let found = prefixes.iter().find(|(least, _)| value.abs() >= *least);
    let (scaled, prefix) = found
        .map_or((value, ""), |(least, prefix)| (value / least.min(if *prefix == "k" { 1e3 } else { *least }), *prefix));
    let digits = match scaled.abs() {
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    format!("{scaled:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(query: &str, name: &str, score: f64, fires: bool) -> Row {
        let alert = fires.then(|| "expected 27 to 40, was 1.3".to_owned());
        let outputs = [("y", 1.334), ("yhat_lower", 27.1), ("yhat_upper", 39.9), ("anomaly_score", score)];
        let outputs: BTreeMap<_, _> = outputs.map(|(name, value)| (name.to_owned(), value)).into();
        Row { query: query.to_owned(), name: name.to_owned(), outputs, alert, shard: None }
    }

    #[test]
    fn every_series_has_a_line_with_value_range_score_and_alert() {
        let lines = table(
            "replay",
            &[row("recording", INCIDENT, 4.46, true), row("cpu", "user", 0.5, false)],
            "this machine",
            false,
        );
        let incident = lines.iter().find(|line| line.contains(INCIDENT)).unwrap();
        for part in ["1.334", "27.10 .. 39.90", "4.46", "FIRING"] {
            assert!(incident.contains(part), "{incident}");
        }
        assert!(lines.iter().any(|line| line.contains("cpu user") && line.trim_end().ends_with("0.50")));
        assert_eq!(lines.last().unwrap(), &format!("{INCIDENT}: expected 27 to 40, was 1.3"));
        assert!(!lines.concat().contains('\x1b'));
    }

    #[test]
    fn the_columns_of_all_lines_are_aligned() {
        let rows = [row("recording", INCIDENT, 4.46, true), row("cpu", "user", 123.5, true)];
        for shard in [None, Some(2)] {
            let rows = rows.clone().map(|row| Row { shard, ..row });
            let lines = table("replay", &rows, "this machine", false);
            let ends: Vec<_> = lines.iter().filter_map(|line| line.find("FIRING")).collect();
            assert_eq!(ends, [lines[2].find("alert").unwrap(); 2]);
        }
    }

    #[test]
    fn what_an_alert_says_is_broken_before_the_terminal_would() {
        let words = ["twelve words ".repeat(4), "w".repeat(60), "and more".to_owned()].concat();
        let lines = wrapped(&words);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert_eq!(lines.join(" ").split_whitespace().collect::<String>(), words.replace(' ', ""));
    }

    #[test]
    fn a_score_below_one_is_not_shown_as_one() {
        assert_eq!(
            [0.0, 0.29, 0.999, 1.0, 4.46, 4.467].map(hundredths),
            ["0.00", "0.29", "0.99", "1.00", "4.46", "4.46"]
        );
    }

    #[test]
    fn large_numbers_get_a_unit_prefix() {
        let shown = [0.0, 0.12345, 33.5553, 9999.0, 12_345.0, -2_500_000.0, 3.2e9].map(short);
        assert_eq!(shown, ["0.000", "0.123", "33.56", "9999.0", "12.35k", "-2.500M", "3.200G"]);
    }
}
