//! Bad input, one test each: a worker that cannot run says what is wrong and does not start; one that runs says what is
//! wrong, counts it and goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "functions that tests share are tests, too")]

#[path = "bad_input/refused_start.rs"]
mod refused_start;
#[path = "bad_input/strange_answers.rs"]
mod strange_answers;
#[path = "bad_input/strange_series.rs"]
mod strange_series;
