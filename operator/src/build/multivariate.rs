//! Models that see several series together: their part of the worker's configuration, and whether their queries are
//! placed alike.

use config::load::Loaded;
use config::ownership::{Spread, tears_groups};
use crds::model::AnomalyModelSpec;
use crds::status::Reason;
use serde_json::json;

use super::config::Section;
use super::models::holidays;
use crate::selection::{Rejection, Selection};

/// The class, and what only that takes.
pub(super) fn multivariate(common: Section, spec: &AnomalyModelSpec) -> Section {
    if let Some(own) = &spec.temporal_envelope_multivariate {
        common
            .set("class", "temporal_envelope_multivariate")
            .set("groupby", own.groupby.as_ref().map(|labels| json!(labels)))
            .set("dependency_rank", own.dependency_rank)
            .set("score_aggregation", own.score_aggregation.map(|aggregation| json!(aggregation)))
            .set("max_channels", own.max_channels)
            .set("recommended_max_channels", own.recommended_max_channels)
            .set("random_state", own.random_state)
            .set("quantiles", own.quantiles.as_ref().map(|quantiles| json!(quantiles)))
            .set("iqr_threshold", own.iqr_threshold)
            .set("alpha", own.alpha)
            .set("loss_reactivity", own.loss_reactivity)
            .set("changepoint_window", own.changepoint_window)
            .set("seasonalities", own.seasonalities.as_ref().map(|profiles| json!(profiles)))
            .set("holidays", own.holidays.as_ref().map(holidays))
            .set("min_n_samples_seen", own.min_n_samples_seen)
    } else if let Some(own) = &spec.isolation_forest_multivariate {
        let max_samples = own.max_samples.map(|number| json!(number));
        let args = Section::default()
            .set("n_estimators", own.n_estimators)
            .set("max_samples", max_samples.or(own.max_samples_share.map(|share| json!(share))))
            .set("max_features", own.max_features_share)
            .set("bootstrap", own.bootstrap)
            .set("random_state", own.random_state);
        common
            .set("class", "isolation_forest_multivariate")
            .set("groupby", own.groupby.as_ref().map(|labels| json!(labels)))
            .set("contamination", own.contamination)
            .set("seasonal_features", own.seasonal_features.as_ref().map(|features| json!(features)))
            .set("args", args.value())
    } else {
        common
    }
}

/// Marks the models whose groups the placements of their queries would tear apart; `false` when there is none.
pub(super) fn reject_torn(selection: &mut Selection, loaded: &Loaded, placements: &[(String, Spread)]) -> bool {
    let spread = |alias: &str| {
        let placed = placements.iter().find(|(placed, _)| placed == alias);
        placed.map_or(&Spread::Series, |(_, spread)| spread)
    };
    let mut found = false;
    for model in selection.models.iter_mut().filter(|model| model.rejection.is_none()) {
        let Some(groupby) = loaded.config.models.get(&model.alias).and_then(|model| model.class.groupby()) else {
            continue;
        };
        let placed = model.queries.iter().map(|alias| (alias.as_str(), spread(alias)));
        if let Some(message) = tears_groups(groupby, placed) {
            model.rejection = Some(Rejection { reason: Reason::InvalidValue, message });
            found = true;
        }
    }
    found
}
