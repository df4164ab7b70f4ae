//! The rules of the protocol by name, so that a simulation can show of each that it is needed.

/// A rule that workers keep among themselves.
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
    /// A rank that answers but does not get on counts as absent.
    PassStuck,
    /// With `writer.mode: failover`, a rank leaves writing to the lower ones.
    OneWriter,
    /// A tick that was in flight when a process ended is learnt, even if others have written it.
    LearnInFlight,
    /// A tick that another rank's state is to write is over only when that state is here.
    StayUntilReplaced,
    /// A rank that an epoch has settled without, or that has lost its state, hears all others before it goes on by itself.
    HearAll,
    /// The former owner goes on with series until their new owner asks for them.
    GoOnUntilAsked,
    /// Only the leading rank releases series; the others do so when they follow its record.
    OneReleases,
    /// Only the leading rank lets arrived series join; the others do so when they follow its record.
    OneJoins,
    /// Arrived series join the others where both stand at the same tick.
    JoinAtOneTick,
    /// Released series are no longer scored by their former owner.
    LetGo,
    /// What was released is kept until the epoch has settled.
    KeepReleased,
    /// What was released in an epoch that is over, and nobody has taken, goes on at its former owner.
    ComeBack,
    /// Before it does, whoever it was for says that it has not taken it.
    AskBeforeTheyComeBack,
    /// What another rank holds of an epoch that is over joins before series are released in the next.
    HearOfArrivals,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::TakeRecords,
        Self::LowestReads,
        Self::AskAgain,
        Self::CompareChains,
        Self::FollowTakeovers,
        Self::LearnInFlight,
        Self::PassStuck,
        Self::OneWriter,
        Self::StayUntilReplaced,
        Self::HearAll,
        Self::GoOnUntilAsked,
        Self::OneReleases,
        Self::OneJoins,
        Self::JoinAtOneTick,
        Self::LetGo,
        Self::KeepReleased,
        Self::ComeBack,
        Self::AskBeforeTheyComeBack,
        Self::HearOfArrivals,
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
