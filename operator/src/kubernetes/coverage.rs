//! Whether a live object already has all that is wanted of it. Pure.

use serde_json::Value;

/// Whether `live` has everything of `wanted`; it may have more: defaults, and what others own.
///
/// A list of objects covers another if each wanted element is covered by one of its elements, so that elements which
/// others add (injected containers, volumes) are left alone. Other lists must be equal.
#[must_use]
pub fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| match live.get(key) {
            Some(live) => covers(live, wanted),
            None => is_empty(wanted),
        }),
        (Value::Array(live), Value::Array(wanted)) if wanted.iter().all(Value::is_object) && !wanted.is_empty() => {
            wanted.iter().all(|wanted| live.iter().any(|live| covers(live, wanted)))
        }
        (live, wanted) => live == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// What `live` has at the places that `wanted` names: the server's spelling of what was applied (`1` for `1000m`).
#[must_use]
pub fn spelling(live: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let places = wanted
                .iter()
                .filter_map(|(key, wanted)| live.get(key).map(|live| (key.clone(), spelling(live, wanted))));
            Value::Object(places.collect())
        }
        _ => live.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_foreign_elements_are_no_difference_and_lost_ones_are() {
        let wanted =
            json!({"spec": {"containers": [{"name": "a", "args": ["x"]}]}, "metadata": {"labels": {"l": "1"}}});
        let live = json!({
            "spec": {"containers": [{"name": "other"}, {"name": "a", "args": ["x"], "terminationMessagePath": "/dev"}]},
            "metadata": {"labels": {"l": "1", "foreign": "2"}},
        });
        assert!(covers(&live, &wanted));
        for lost in [
            json!({"spec": {"containers": [{"name": "a", "args": ["x", "y"]}]}, "metadata": {"labels": {"l": "1"}}}),
            json!({"spec": {"containers": [{"name": "a", "args": ["x"]}]}, "metadata": {"labels": {"l": "2"}}}),
            json!({"spec": {"containers": []}, "metadata": {"labels": {"l": "1"}}}),
        ] {
            assert!(!covers(&lost, &wanted), "{lost}");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_covers_itself_and_what_the_server_spelt(value in json_value(), other in json_value()) {
            prop_assert!(covers(&value, &value));
            prop_assert!(covers(&value, &spelling(&value, &other)) || !value.is_object());
        }
    }
}
