//! The label set of a series in an answer: `{"__name__":"up","job":"node"}`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::labels::Labels;

/// A string, copied only if it has escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Parses the `metric` of a series. `added` labels are given to it unless it has them.
pub fn parse_labels(raw: &[u8], added: &[(String, String)]) -> Result<Labels, serde_json::Error> {
    struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

    impl<'de> Deserialize<'de> for Pairs<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;

            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Pairs<'de>;

                fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    formatter.write_str("a label set")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut pairs = Vec::with_capacity(8);
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    let Pairs(pairs) = serde_json::from_slice(raw)?;
    // Of equal names the last one counts, so what the server says comes last.
    let added = added.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(Labels::new(added.chain(pairs.iter().map(|(name, value)| (&*name.0, &*value.0)))))
}
