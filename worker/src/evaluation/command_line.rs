//! The command line of `vmanomaly evaluate`.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, ValueEnum};

use super::{
    around::Around,
    candidates::{CLASSES, Variant},
};

/// Runs models over labelled series as they would have run live, and says what they found and how often they cried wolf.
///
/// FOLDER has manifest.csv, events.json and <source>/<series>.csv.gz with the columns timestamp, value (or several channels) and
/// label. Every figure is at a score above 1 unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "vmanomaly evaluate", max_term_width = 120)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["models", "classes", "all", "scores"]))]
pub struct Flags {
    /// Folder of labelled series
    pub folder: PathBuf,
    /// File with the models to run: a configuration, of which only `models` counts, or one entry of it. Repeatable
    #[arg(long = "model", value_name = "FILE")]
    pub models: Vec<PathBuf>,
    /// Run this class with its argument defaults. Repeatable
    #[arg(long = "class", value_name = "NAME", value_parser = CLASSES, hide_possible_values = true)]
    pub classes: Vec<String>,
    /// Run every class with its argument defaults
    #[arg(long)]
    pub all: bool,
    /// With --all: run every class once more with this argument. Repeatable
    #[arg(long = "variant", value_name = "KEY=VALUE", requires = "all")]
    pub variants: Vec<Variant>,
    /// Judge scores that were made before: <DIR>/<split>/<source>/<series>.csv with timestamp,anomaly_score
    #[arg(long, value_name = "DIR")]
    pub scores: Option<PathBuf>,
    /// Also write the scores, to <DIR>/<model>/<split>/<source>/<series>.csv
    #[arg(long = "write-scores", value_name = "DIR")]
    pub write_scores: Option<PathBuf>,
    /// Only series of this source. Repeatable
    #[arg(long = "source", value_name = "NAME")]
    pub sources: Vec<String>,
    /// Only the series of this name. Repeatable
    #[arg(long = "series", value_name = "NAME")]
    pub series: Vec<String>,
    /// Also draw what is judged of every series with the band and the alarms, into <DIR>/<model>/<source>/<series>.svg
    #[arg(long, value_name = "DIR", conflicts_with = "scores")]
    pub pictures: Option<PathBuf>,
    /// Draw parts of the series instead: around each missed event, around each false alarm, or around a time such as
    /// 2014-07-10T20:35:00Z, into <DIR>/<model>/<source>/<series>-<what>-<time>.svg. Repeatable
    #[arg(long, value_name = "missed|false|TIME", requires = "pictures")]
    pub around: Vec<Around>,
    /// How far a picture goes to both sides of what it is around; 60 steps of the series if not said
    #[arg(long, value_name = "DURATION", requires = "around", value_parser = config::duration::parse)]
    pub margin: Option<i64>,
    /// Judge every series from its first sample on, without any history: what is said of a series that is new
    #[arg(long = "from-start")]
    pub from_start: bool,
    /// Distance of fits; the first one is where judgement begins
    #[arg(long = "fit-every", value_name = "DURATION", default_value = "1d", value_parser = config::duration::parse)]
    pub fit_every: i64,
    /// Length of the window of a fit; less at the beginning of a series
    #[arg(long = "fit-window", value_name = "DURATION", default_value = "14d", value_parser = config::duration::parse)]
    pub fit_window: i64,
    /// How to print the figures
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: OutputFormat,
}

/// How figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Tables in Markdown.
    Text,
    /// An array of `{model, sources: {<source>: {...}}}`.
    Json,
}
