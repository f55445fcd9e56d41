//! Values that may be written as one text or as a mapping, and numbers that may carry a unit.
//!
//! Untagged enums would do it too, but they answer every mistake with "did not match any variant"; these keep the
//! path and the sentence of what is wrong inside the mapping.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// A text, or the mapping `M`.
#[derive(Debug, Clone)]
pub(crate) enum TextOr<M> {
    Text(String),
    Table(M),
}

impl<'de, M: Deserialize<'de>> Deserialize<'de> for TextOr<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> Visitor<'de> for TextOrVisitor<M> {
    type Value = TextOr<M>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text (in quotes where it looks like a number) or a mapping")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
    }
}

impl<M: JsonSchema> JsonSchema for TextOr<M> {
    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", M::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<M>()] })
    }
}

/// A rate such as `50MiB/s`, or -1; the text is kept, and read when the document is checked.
#[derive(Debug, Clone)]
pub(crate) struct Rate(pub(crate) String);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateVisitor;

        impl Visitor<'_> for RateVisitor {
            type Value = Rate;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a rate such as 50MiB/s, or -1 for unlimited")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Rate, E> {
                Ok(Rate(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Rate, E> {
                Ok(Rate(number.to_string()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
                Ok(Rate(text.to_owned()))
            }
        }

        deserializer.deserialize_any(RateVisitor)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes per second with a unit, or -1 for unlimited.",
            "anyOf": [
                { "type": "string", "pattern": "^(-1|[0-9]+ ?([KMG]iB|[kMG]B|B)/s)$" },
                { "const": -1 }
            ],
            "examples": ["50MiB/s", -1]
        })
    }
}
