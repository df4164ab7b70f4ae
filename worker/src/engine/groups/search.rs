//! The search for the arguments of one group of a multivariate model.

use std::{ops::Range, time::Duration};

use detect::{
    auto::joint::JointFit,
    multivariate::{Channels, MultivariateSpec},
    offline::FitError,
};
use rayon::prelude::*;

use super::{Groups, states::write};
use crate::{engine::FitWindow, labels::Labels};

/// The search for one group.
pub(in crate::engine) struct GroupSearch {
    /// Sorted, with their slots.
    channels: Vec<(Labels, u32)>,
    fit: JointFit,
}

impl GroupSearch {
    /// The slot of the first channel, which stands for the group.
    pub(in crate::engine) fn slot(&self) -> u32 {
        self.channels.first().map_or(0, |(_, slot)| *slot)
    }

    /// Makes a trial; returns whether there is another one to make.
    pub(in crate::engine) fn step(&mut self) -> bool {
        self.fit.step()
    }

    /// Fits what was found, and returns the state of the group.
    pub(in crate::engine) fn finish(self, window: &FitWindow) -> Result<Vec<u8>, FitError> {
        let values = window.channels(&self.channels);
        let channels = Channels { times: window.times(), count: self.channels.len(), values: &values };
        let model = self.fit.finish(channels)?;
        let mut state = Vec::new();
        write(self.channels.iter().map(|(labels, _)| labels), &model, &mut state);
        Ok(state)
    }
}

impl Groups {
    /// Whether a fit searches the arguments of each group.
    pub(in crate::engine) fn are_searched(&self) -> bool {
        matches!(self.spec, MultivariateSpec::Auto(_))
    }

    /// The longest time of the search for one group.
    pub(in crate::engine) fn timeout(&self) -> Option<Duration> {
        match &self.spec {
            MultivariateSpec::Auto(args) => args.timeout,
            MultivariateSpec::IsolationForest(..)
            | MultivariateSpec::TemporalEnvelope(..)
            | MultivariateSpec::Calibrated(..) => None,
        }
    }

    /// The searches for the groups of a [slice](Self::slices), if the model searches.
    pub(in crate::engine) fn begin_searches(&self, window: &FitWindow, slice: &Range<u32>) -> Vec<GroupSearch> {
        let to_fit = self.to_fit.get(slice.start as usize..slice.end as usize).unwrap_or_default();
        let begin = |channels: &Vec<(Labels, u32)>| {
            let names: Vec<String> = channels.iter().map(|(labels, _)| labels.to_string()).collect();
            let policies: Vec<_> = channels.iter().map(|(labels, _)| self.policy_of(labels)).collect();
            let values = window.channels(channels);
            let of_group = Channels { times: window.times(), count: channels.len(), values: &values };
            let fit = self.spec.begin_fit(&names, of_group, &policies)?;
            Some(GroupSearch { channels: channels.clone(), fit })
        };
        to_fit.par_iter().filter_map(begin).collect()
    }
}
