//! Fits of groups.

use std::{collections::BTreeMap, ops::Range};

use detect::{
    incidents,
    multivariate::{Channels, MultivariateModel},
    offline::FitError,
};
use rayon::prelude::*;

use super::{Groups, sorted};
use crate::{engine::FitWindow, labels::Labels, series::SeriesTable};

/// A series that has had no sample in this part of a fit's window, its newest one, is gone: no later tick has it.
const NEWEST_PART: usize = 10;

impl Groups {
    /// Finds the channels of every group in a fit's window.
    pub(in crate::engine) fn gather(&mut self, window: &FitWindow, series: &SeriesTable) {
        let newest = window.len().div_ceil(NEWEST_PART);
        let mut groups: BTreeMap<String, Vec<(String, Labels, u32)>> = BTreeMap::new();
        for (slot, one) in series.series().filter(|(slot, _)| window.has_sample_within(*slot, newest)) {
            let group = self.joint.group_of(&one.labels).to_string();
            groups.entry(group).or_default().push((one.labels.to_string(), one.labels.clone(), slot));
        }
        self.to_fit = groups.into_values().map(sorted).collect();
    }

    /// Slices of the groups to fit, of a length that threads are busy with for a moment only.
    pub(in crate::engine) fn slices(&self) -> Vec<Range<u32>> {
        let length = rayon::current_num_threads().max(1);
        let end = self.to_fit.len();
        let slice = |start: usize| start as u32..start.saturating_add(length).min(end) as u32;
        (0..end).step_by(length).map(slice).collect()
    }

    /// Fits the groups of a [slice](Self::slices), and returns the slots of the first channels of those that cannot be. Those of a
    /// model that searches are fitted by [searches](Self::begin_searches).
    pub(in crate::engine) fn fit(&mut self, window: &FitWindow, slice: &Range<u32>) -> Vec<(u32, FitError)> {
        if self.are_searched() {
            return Vec::new();
        }
        let Some(to_fit) = self.to_fit.get(slice.start as usize..slice.end as usize) else { return Vec::new() };
        let (spec, excludes_incidents) = (&self.spec, self.excludes_incidents);
        let fits: Vec<(u32, Result<MultivariateModel, FitError>)> = to_fit
            .par_iter()
            .map(|channels| {
                let names: Vec<String> = channels.iter().map(|(labels, _)| labels.to_string()).collect();
                let mut values = window.channels(channels);
                if excludes_incidents {
                    for of_one in values.chunks_mut(window.len().max(1)) {
                        incidents::leave_out(window.times(), of_one);
                    }
                }
                let channels_of = Channels { times: window.times(), count: channels.len(), values: &values };
                let slot = channels.first().map_or(0, |(_, slot)| *slot);
                (slot, spec.fit(&names, channels_of))
            })
            .collect();
        let channels: Vec<Vec<Labels>> =
            to_fit.iter().map(|channels| channels.iter().map(|(labels, _)| labels.clone()).collect()).collect();
        let mut refused = Vec::new();
        for ((slot, fit), channels) in fits.into_iter().zip(channels) {
            let Some(first) = channels.first() else { continue };
            match fit {
                Ok(model) => {
                    self.displace(first);
                    self.insert(slot, channels, model);
                }
                Err(error) => refused.push((slot, error)),
            }
        }
        refused
    }
}
