//! What the workers of a deployment tell each other, so that the ranks of a shard learn the same and keep the same
//! state without electing anybody.
//!
//! - **The first logged record of a tick counts.** Before it reads a tick, a rank asks all others of its shard what
//!   comes after its own position ([`Request::Next`]) and takes the record that one of them has. Only where none has
//!   one does the lowest reachable rank read; the others wait for its record.
//! - **The chain** ([`lineage`]) is a digest over everything that a state was learnt from. A rank that finds another
//!   chain at its own position, or whose next record is gone, compares where both stand ([`Standing::precedes`]): the
//!   one that comes off worse adopts the other's state ([`Request::Image`]).
//! - **Configurations and fits** are part of a record: the plan that it was read under, and the fit that took over
//!   before it ([`Request::Fit`] brings its states).
//!
//! Over HTTP, questions and answers have the form of [`encoding`]; [`http`] sends and takes them.
//!
//! Everything that a rank offers lies in the [`Journal`](journal::Journal) of each job, and
//! [`Journal::answer`](journal::Journal::answer) is a pure function of it.

pub mod encoding;
pub mod http;
pub mod journal;
pub mod lineage;
pub mod message;
pub mod rules;

pub use lineage::{Lineage, Phase, Standing};
pub use message::{Answer, Member, PeerError, Place, Request};
pub use rules::{Rule, Rules};
