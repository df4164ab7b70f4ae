//! Which models and queries a VMAnomaly takes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded::{LABEL_VALUE, QUALIFIED_NAME};

/// Selects objects by label, and from which namespaces. All conditions must hold; an empty selector takes every
/// object of the own namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSelector {
    /// Labels that an object must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32), schema_with = "crate::embedded::label_map")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<LabelRequirement>,
    /// Namespaces to look in; absent: only the own one. `"*"` stands for all namespaces that the operator watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 63), regex(pattern = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"))
    )]
    pub namespaces: Option<Vec<String>>,
}

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)")
    .message("values must be given for In and NotIn, and only for them").field_path(".values"))]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317), regex(pattern = QUALIFIED_NAME))]
    pub key: String,
    /// How the label's value is compared: `In` and `NotIn` the values, `Exists` and `DoesNotExist` at all.
    pub operator: LabelOperator,
    /// Values for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63), regex(pattern = LABEL_VALUE)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    #[allow(missing_docs)]
    In,
    #[allow(missing_docs)]
    NotIn,
    #[allow(missing_docs)]
    Exists,
    #[allow(missing_docs)]
    DoesNotExist,
}

impl ObjectSelector {
    /// The conditions on labels in Kubernetes' own form.
    #[must_use]
    pub fn labels(&self) -> LabelSelector {
        let requirement = |requirement: &LabelRequirement| LabelSelectorRequirement {
            key: requirement.key.clone(),
            operator: format!("{:?}", requirement.operator),
            values: (!requirement.values.is_empty()).then(|| requirement.values.clone()),
        };
        LabelSelector {
            match_labels: Some(self.match_labels.clone()),
            match_expressions: Some(self.match_expressions.iter().map(requirement).collect()),
        }
    }

    /// Whether objects of `namespace` are selected by an object of `own`.
    #[must_use]
    pub fn takes_namespace(&self, own: &str, namespace: &str) -> bool {
        match &self.namespaces {
            None => own == namespace,
            Some(names) => names.iter().any(|name| name == "*" || name == namespace),
        }
    }
}
