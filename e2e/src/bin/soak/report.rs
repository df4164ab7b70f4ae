//! What happened, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::comparison::Comparison;
use jiff::Timestamp;

use crate::Arguments;

/// A part of the soak, from its first deed until the workers had written all ticks.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub took: Duration,
    pub ticks: i64,
    pub comparison: Comparison,
    pub divergences: f64,
    pub refits: f64,
    pub gaps: f64,
    pub handovers: f64,
    /// Questions between workers that were not answered.
    pub unreachable: f64,
    /// What was done, and how often.
    pub deeds: BTreeMap<&'static str, u32>,
    /// Reads of a tick, during all of it.
    pub reads: f64,
    /// Reads of a tick at its end, when nothing happens, and how many there should be.
    pub quiet_reads: f64,
    /// The most until then, once no series was on its way any more.
    pub most_reads: f64,
    pub wanted_reads: f64,
    /// Times in which replicas did not reach each other, unix ms.
    pub partitions: Vec<(i64, i64)>,
}

impl Row {
    /// What is wrong, in words.
    fn complaints(&self) -> Vec<String> {
        let comparison = &self.comparison;
        let mut complaints = Vec::new();
        let mut complain = |condition: bool, words: String| {
            if condition {
                complaints.push(words);
            }
        };
        complain(comparison.samples == 0, "nothing was compared".to_owned());
        complain(comparison.missing > 0, format!("{} samples are missing", comparison.missing));
        complain(comparison.additional > 0, format!("{} samples should not be there", comparison.additional));
        let apart = |time: &i64| self.partitions.iter().any(|(from, until)| (from..=until).contains(&time));
        let elsewhere = comparison.different_at.iter().filter(|time| !apart(time)).count();
        complain(elsewhere > 0, format!("other values in {elsewhere} ticks in which nobody was cut off"));
        complain(
            comparison.different > 0 && self.divergences == 0.0,
            format!("{} other values, and no replica counts a divergence", comparison.different),
        );
        complain(
            self.deeds.contains_key("cut from other workers") && self.unreachable == 0.0,
            "a worker was cut off, and nobody noticed".to_owned(),
        );
        complain(self.refits > 0.0, format!("{} series were learnt anew", self.refits));
        complain(self.gaps > 0.0, format!("{} ticks were given up", self.gaps));
        complain(
            (self.quiet_reads - self.wanted_reads).abs() > 1e-9,
            format!("{:.2} reads a tick instead of {:.0}", self.quiet_reads, self.wanted_reads),
        );
        complain(
            self.most_reads > 2.0 * self.wanted_reads,
            format!("{:.2} reads a tick, of two topologies or configurations in use", self.most_reads),
        );
        if let (Some(first), false) = (&comparison.first, complaints.is_empty()) {
            complaints.push(first.clone());
        }
        complaints
    }

    fn line(&self) -> String {
        let Self { name, comparison, .. } = self;
        format!(
            "| {name} | {:.0} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
            self.took.as_secs_f64(),
            self.ticks,
            comparison.samples,
            comparison.missing + comparison.additional,
            comparison.different,
            comparison.repeated,
            self.divergences,
            self.refits,
            self.handovers,
            self.unreachable,
            self.reads,
            self.most_reads,
            self.quiet_reads,
        )
    }
}

/// All parts.
#[derive(Debug)]
pub struct Report {
    head: String,
    rows: Vec<Row>,
}

impl Report {
    /// Nothing yet.
    pub fn new(arguments: &Arguments) -> Self {
        let Arguments { series, every, seed, mode, .. } = arguments;
        let mode = format!("{mode:?}").to_lowercase();
        Self { head: format!("{series} series every {every} s, `writer.mode: {mode}`, seed {seed}"), rows: Vec::new() }
    }

    /// Adds a part and tells it.
    pub fn add(&mut self, row: Row) {
        println!("{}", row.line());
        for complaint in row.complaints() {
            println!("    {complaint}");
        }
        self.rows.push(row);
    }

    /// Whether all of it is as promised.
    pub fn is_good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.complaints().is_empty())
    }

    /// Prints the table, and what is wrong.
    pub fn print(&self) {
        println!("\n{}\n", self.head);
        println!(
            "| what | seconds | ticks | samples compared | missing or too much | other values | written again | divergences | learnt anew | hand-overs | unanswered | reads a tick | most after it | at rest |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        for row in &self.rows {
            println!("{}", row.line());
        }
        let mut deeds = BTreeMap::new();
        for (deed, times) in self.rows.iter().flat_map(|row| &row.deeds) {
            *deeds.entry(*deed).or_insert(0) += times;
        }
        println!("\n{}", deeds.iter().map(|(deed, times)| format!("{deed}: {times}")).collect::<Vec<_>>().join(", "));
        let complaints: Vec<_> =
            self.rows.iter().flat_map(|row| row.complaints().into_iter().map(|words| (&row.name, words))).collect();
        println!("\nsoak: {} parts, {} complaints", self.rows.len(), complaints.len());
        for (name, words) in complaints {
            println!("  {name}: {words}");
        }
    }
}

/// Tells what is done just now.
pub fn tell(words: &str) {
    println!("{} {words}", Timestamp::now().strftime("%H:%M:%S"));
}
