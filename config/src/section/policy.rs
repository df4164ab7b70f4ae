//! What counts as anomalous: keys of queries, and, deprecated, of models.

use crate::fields::Fields;
use crate::problem::Problems;
use crate::schema::{Domain, Key, Kind, Presence, Section};
use crate::worker::{DetectionDirection, Policies};

/// The keys; `data_range` has another absence at the reader and is declared there too.
pub(crate) const SECTION: Section = Section {
    title: "Policies of `reader.queries.<alias>`",
    about: "Policies of a query. They belong to the query; on a model they are deprecated and hold only for queries that do not have the key themselves. Each key falls back by itself: query, model, for `data_range` the reader, then the default.",
    keys: &[
        Key::new(
            "data_range",
            Kind::Range,
            Presence::Absent("`[-inf, inf]`"),
            "Valid domain of the values. A value outside gets `anomaly_score_outside_data_range`; a prediction outside gives score 0; `clip_predictions` clamps to it.",
        ),
        Key::new(
            "detection_direction",
            Kind::OneOf(DIRECTIONS),
            Presence::Absent("`both`"),
            "Side of the expectation that counts.",
        ),
        Key::new(
            "min_dev_from_expected",
            Kind::Sides(Domain::NotNegative),
            Presence::Absent("0"),
            "Deviations from the expected value up to this are no anomaly, in units of the series.",
        ),
        Key::new(
            "min_rel_dev_from_expected",
            Kind::Sides(Domain::NotNegative),
            Presence::Absent("0"),
            "The same in percent of the expected value. If both are set, a point must exceed both to be anomalous.",
        ),
    ],
};

const DIRECTIONS: &[&str] = &["both", "above_expected", "below_expected"];

pub(crate) fn build(fields: &Fields<'_>, problems: &mut Problems) -> Policies {
    let written = |name: &str| fields.raw(name).is_some();
    Policies {
        data_range: fields.range("data_range", problems),
        detection_direction: written("detection_direction")
            .then(|| fields.one_of("detection_direction", problems))
            .flatten()
            .map(|direction| match direction {
                "above_expected" => DetectionDirection::AboveExpected,
                "below_expected" => DetectionDirection::BelowExpected,
                _ => DetectionDirection::Both,
            }),
        min_dev_from_expected: fields.sides("min_dev_from_expected", problems),
        min_rel_dev_from_expected: fields.sides("min_rel_dev_from_expected", problems),
    }
}
