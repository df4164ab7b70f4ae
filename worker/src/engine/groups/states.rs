//! The states of groups as bytes, each as that of its first channel.

use detect::{model::StateError, multivariate::MultivariateModel};

use super::{Group, Groups};
use crate::{
    encoding::{Cursor, put_labels, put_unsigned},
    labels::Labels,
};

/// Version of a group's state: the channels, then the model's own state.
const STATE_VERSION: u8 = 1;

impl Groups {
    /// The state of the group whose first channel this is.
    pub(in crate::engine) fn save(&self, slot: u32, channel: &Labels) -> Option<Vec<u8>> {
        let group = self.groups.get(channel)?;
        (group.slot == slot).then(|| {
            let mut state = Vec::new();
            group.save(&mut state);
            state
        })
    }

    /// Loads the state of the group whose first channel this is; a state that the group had is gone.
    pub(in crate::engine) fn load(&mut self, slot: u32, channel: &Labels, state: &[u8]) -> Result<(), StateError> {
        self.displace(channel);
        self.restore(slot, channel, state)
    }

    /// The same beside a state that the group has from another first channel: a replay goes on with each from its own time.
    pub(in crate::engine) fn restore(&mut self, slot: u32, channel: &Labels, state: &[u8]) -> Result<(), StateError> {
        self.groups.remove(channel);
        let (channels, state) = read_channels(state)?;
        let names: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let is_sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
        if channels.first() != Some(channel) || !is_sorted {
            return Err(StateError::Damaged { what: "it is of other channels" });
        }
        let refused = |_| StateError::Damaged { what: "it has more channels than the model may have" };
        let mut model = self.spec.new_model(&names).map_err(refused)?;
        model.load(state)?;
        if !model.is_of(channels.len()) {
            return Err(StateError::Damaged { what: "it was fitted to another number of channels" });
        }
        self.insert(slot, channels, model);
        Ok(())
    }

    /// Forgets the groups whose first channels have these slots.
    pub(in crate::engine) fn reset(&mut self, slots: &[u32]) {
        self.groups.retain(|_, group| !slots.contains(&group.slot));
    }
}

impl Group {
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        write(self.channels.iter(), &self.model, out);
    }
}

/// Appends the state of a group of these channels, which are sorted.
pub(super) fn write<'a>(
    channels: impl ExactSizeIterator<Item = &'a Labels>,
    model: &MultivariateModel,
    out: &mut Vec<u8>,
) {
    out.push(STATE_VERSION);
    put_unsigned(out, channels.len() as u64);
    channels.for_each(|channel| put_labels(out, channel));
    model.save(out);
}

/// The channels of a group's state, and the state of its model.
fn read_channels(state: &[u8]) -> Result<(Vec<Labels>, &[u8]), StateError> {
    let mut cursor = Cursor::new(state);
    let damaged = || StateError::Damaged { what: "its channels cannot be read" };
    match cursor.byte().ok_or_else(damaged)? {
        STATE_VERSION => {}
        found => return Err(StateError::Version { found: found.into(), supported: STATE_VERSION.into() }),
    }
    let count = cursor.count(1).ok_or_else(damaged)?;
    let channels: Option<Vec<Labels>> = (0..count).map(|_| cursor.labels()).collect();
    Ok((channels.ok_or_else(damaged)?, cursor.rest()))
}
