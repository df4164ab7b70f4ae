//! How much history a model needs, and how much of it a series' model has seen.
//!
//! A model with less history than it needs is not useless: it says less. It is [starting](Stage::Starting) while it has no score,
//! [learning](Stage::Learning) while it scores without all that it was asked to learn, as a season that it has not seen as a
//! whole, and then [ready](Stage::Ready). Where a class learns nothing but a level and a spread, there is no stage in between.

/// How far a model of one series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It has no score yet, or the score of a warm-up, which is 0.
    Starting,
    /// It scores, but has not seen all that it was asked to learn.
    Learning,
    /// It has seen all.
    Ready,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Learning, Self::Ready];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Learning => "learning",
            Self::Ready => "ready",
        }
    }
}

/// A stage, and how much of the history that the next one needs has been seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readiness {
    /// The stage.
    pub stage: Stage,
    /// Of the needed history; from 0 to below 1, and 0 of a model that is ready.
    pub share: f64,
}

impl Readiness {
    /// Of a model that has seen nothing.
    pub const NONE: Self = Self { stage: Stage::Starting, share: 0.0 };

    /// Of a model that has seen all.
    pub const READY: Self = Self { stage: Stage::Ready, share: 0.0 };

    /// Of a model that has no score before it has seen `needed`, and does not learn anything else.
    #[must_use]
    pub fn starting(seen: f64, needed: f64) -> Self {
        Self::until(Stage::Starting, seen, needed)
    }

    /// Of a model that scores, and has seen all that it was asked to learn once it has seen `needed`.
    #[must_use]
    pub fn learning(seen: f64, needed: f64) -> Self {
        Self::until(Stage::Learning, seen, needed)
    }

    fn until(stage: Stage, seen: f64, needed: f64) -> Self {
        let share = seen / needed;
        // Nothing is needed, or more was seen.
        if share < 1.0 { Self { stage, share: share.max(0.0) } } else { Self::READY }
    }

    /// That of a model whose score is 0 until it has seen so many samples; see
    /// [`min_n_samples_seen`](crate::score::ScorePolicy::min_n_samples_seen).
    #[must_use]
    pub fn after_warm_up(self, samples_seen: u64, min_n_samples_seen: u64) -> Self {
        if samples_seen >= min_n_samples_seen {
            return self;
        }
        let share = samples_seen as f64 / min_n_samples_seen as f64;
        let share = if self.stage == Stage::Starting { share.min(self.share) } else { share };
        Self { stage: Stage::Starting, share }
    }

    /// The less ready one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if (other.stage, other.share) < (self.stage, self.share) { other } else { self }
    }

    /// As one number, as it is written: 0 to below 1 is starting, 1 to below 2 is learning, with the share behind the point, in
    /// whole thousandths, and 2 is ready.
    #[must_use]
    pub fn value(self) -> f64 {
        let stage = match self.stage {
            Stage::Starting => 0.0,
            Stage::Learning => 1000.0,
            Stage::Ready => return 2.0,
        };
        (stage + (self.share * 1000.0).floor().clamp(0.0, 999.0)) / 1000.0
    }
}

/// The history after which a model is [ready](Stage::Ready), if a series has a sample at every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NeededHistory {
    /// At least so many samples.
    pub samples: u64,
    /// And at least so long from the first to the last of them, ms; 0 if that does not matter.
    pub span: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_value_has_the_stage_before_the_point_and_the_share_behind_it() {
        assert_eq!(Readiness::NONE.value(), 0.0);
        assert_eq!(Readiness::starting(1.0, 4.0).value(), 0.25);
        assert_eq!(Readiness::learning(1.0, 3.0).value(), 1.333);
        assert_eq!(Readiness::learning(0.0, 3.0).value(), 1.0);
        assert_eq!([Readiness::learning(3.0, 3.0), Readiness::learning(0.0, 0.0)].map(Readiness::value), [2.0, 2.0]);
    }

    #[test]
    fn a_warm_up_counts_until_it_is_over_and_then_the_models_own_readiness() {
        let learning = Readiness::learning(1.0, 2.0);
        assert_eq!(learning.after_warm_up(4, 16).value(), 0.25);
        assert_eq!(learning.after_warm_up(16, 16), learning);
        assert_eq!(Readiness::starting(1.0, 10.0).after_warm_up(4, 16).value(), 0.1);
        assert_eq!(Readiness::starting(1.0, 10.0).after_warm_up(16, 16).value(), 0.1);
    }

    proptest! {
        #[test]
        fn more_history_never_makes_a_model_less_ready(seen in 0.0..1e9, more in 0.0..1e9, needed in 1e-3..1e9) {
            let value = |seen: f64| Readiness::learning(seen, needed).value();
            prop_assert!(value(seen) <= value(seen + more));
            prop_assert!((value(seen) < 2.0) == (seen / needed < 1.0));
        }
    }
}
