//! The rules of the protocol by name, so that a simulation can show of each that it is needed.

/// A rule that ranks keep among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A record that another rank has is taken instead of reading the tick.
    TakeRecords,
    /// Only the lowest reachable rank reads.
    LowestReads,
    /// A rank that may have been paused asks again before its record counts, and before it writes.
    AskAgain,
    /// A state that differs from one that counts more is given up.
    CompareChains,
    /// A fit takes over before the same record everywhere.
    FollowTakeovers,
    /// A starting rank hears where the others stand before it goes on.
    Join,
    /// A rank that answers but does not get on counts as absent.
    PassStuck,
    /// With `writer.mode: failover`, a rank leaves writing to the lower ones.
    OneWriter,
    /// A tick that was in flight when a process ended is learnt, even if others have written it.
    LearnInFlight,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TakeRecords,
        Self::LowestReads,
        Self::AskAgain,
        Self::CompareChains,
        Self::FollowTakeovers,
        Self::Join,
        Self::LearnInFlight,
        Self::PassStuck,
        Self::OneWriter,
    ];
}

/// The rules that are kept: all, except in a simulation that shows what one is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    broken: Option<Rule>,
}

impl Rules {
    /// All but one.
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    /// Whether the rule is kept.
    #[must_use]
    pub fn has(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
