//! How long each part took.

use ::tests::incident::progress::Progress;

/// Prints the report: a line for each part, and the whole.
pub fn print(progress: &Progress) {
    println!("\nHow long it took:");
    for (name, duration) in progress.parts() {
        println!("  {name:<17} {:>7.1} s", duration.as_secs_f64());
    }
    println!("  {:<17} {:>7.1} s", "all", progress.seconds());
}
