//! `#[derive(Event)]`: what it writes, what a type without it says by hand, and what does not compile.
#![cfg(feature = "macros")]

use std::hash::Hash;
use std::time::Duration;

use nervebus::{Bus, Category, Class, Event, TypedEvent, Value, json};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "order.placed", version = 2, category = "intent", key = id, priority = "high", ttl = "30s")]
#[event(emits("order.shipped", "stock.reserved"), debug)]
struct OrderPlaced {
    id: u64,
    #[event(pii)]
    email: String,
}

#[derive(Event, Serialize, Clone, Copy, PartialEq, Debug)]
#[event(topic = "market.tick")]
struct Tick(u64);

#[derive(Event, Serialize, Clone)]
#[event(topic = "door.moved", duplicate)]
enum Door {
    Opened,
}

#[derive(Event, Serialize)]
#[event(topic = "user.renamed")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UserRenamed {
    #[event(pii)]
    first_name: String,
    #[event(pii)]
    #[serde(rename = "surname", default)]
    last_name: String,
    #[event(pii)]
    #[serde(rename(serialize = "type"), skip_serializing_if = "Option::is_none")]
    r#type: Option<u8>,
    display_name: String,
}

fn order() -> OrderPlaced {
    OrderPlaced { id: 7, email: "alice@example.com".into() }
}

#[test]
fn the_derive_writes_what_the_attribute_says() {
    assert_eq!((OrderPlaced::TOPIC, OrderPlaced::VERSION), ("order.placed", 2));
    assert_eq!((OrderPlaced::CATEGORY, OrderPlaced::CLASS), (Category::Intent, Class::High));
    assert_eq!(
        (OrderPlaced::TTL, OrderPlaced::EMITS),
        (Some(Duration::from_secs(30)), &["order.shipped", "stock.reserved"][..])
    );
    assert_eq!(OrderPlaced::PII, ["email"]);
    assert!(order().key().is_some());
}

#[test]
fn what_the_attribute_does_not_say_is_as_if_it_were_written_by_hand() {
    struct Plain;
    impl Serialize for Plain {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    impl TypedEvent for Plain {
        const TOPIC: &'static str = "plain.event";
    }
    fn says<T: TypedEvent>(value: &T) -> impl PartialEq + std::fmt::Debug {
        let (key, json) = (value.key().is_some(), T::from_json(&Value::Null).is_some());
        (T::VERSION, T::CATEGORY, T::CLASS, T::TTL, T::EMITS, T::PII, key, json)
    }
    assert_eq!(format!("{:?}", says(&Tick(1))), format!("{:?}", says(&Plain)));
}

#[test]
fn the_key_is_that_of_the_field() {
    #[derive(Hash)]
    struct Seven(u64);
    fn hash(key: impl Hash) -> u64 {
        use std::hash::{DefaultHasher, Hasher};
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    }
    assert_eq!(hash(order().key().unwrap()), hash(Seven(7).0));
}

#[test]
fn a_type_is_duplicated_if_it_is_copy_or_asks_for_it() {
    assert_eq!(Tick(7).duplicate(), Some(Tick(7)));
    assert!(Door::Opened.duplicate().is_some());
    assert!(order().duplicate().is_none(), "a clone of a string allocates");
}

#[test]
fn a_type_is_made_from_json_if_it_can_be() {
    let made = OrderPlaced::from_json(&json!({"id": 8, "email": "bob"})).unwrap().unwrap();
    assert_eq!((made.id, &*made.email), (8, "bob"));
    assert!(OrderPlaced::from_json(&json!({"id": "eight"})).unwrap().is_err());
    assert!(Tick::from_json(&json!(8)).is_none(), "it has no `Deserialize`");
}

#[test]
fn debug_shows_no_personal_data() {
    assert_eq!(format!("{:?}", order()), r#"OrderPlaced { id: 7, email: [REDACTED] }"#);
}

#[test]
fn personal_data_is_found_under_the_names_that_serde_gives_it() {
    assert_eq!(UserRenamed::PII, ["firstName", "surname", "type"]);
    let bus = Bus::builder().build().unwrap();
    bus.on("user.*")
        .inline()
        .handle(|event| {
            let expected = json!({"firstName": "[REDACTED_PII]", "surname": "[REDACTED_PII]", "displayName": "al"});
            assert_eq!(*event.payload(), expected);
        })
        .unwrap();
    let (first_name, last_name, display_name) = ("Alice".into(), "Smith".into(), "al".into());
    let receipt = bus.topic().unwrap().emit(UserRenamed { first_name, last_name, r#type: None, display_name }).unwrap();
    assert_eq!((receipt.inline().handled, receipt.inline().failed), (1, 0));
}

#[test]
fn personal_data_is_found_by_every_rule_that_serde_has_for_names() {
    macro_rules! keeps_up_with_serde {
        ($($rule:literal)*) => {$({
            #[derive(Event, Serialize)]
            #[event(topic = "user.renamed")]
            #[serde(rename_all = $rule)]
            struct Renamed {
                #[event(pii)]
                first_name_2: u8,
            }
            let json = serde_json::to_value(Renamed { first_name_2: 7 }).unwrap();
            assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), Renamed::PII, $rule);
        })*};
    }
    keeps_up_with_serde!("lowercase" "UPPERCASE" "PascalCase" "camelCase" "snake_case" "SCREAMING_SNAKE_CASE");
    keeps_up_with_serde!("kebab-case" "SCREAMING-KEBAB-CASE");
}

#[test]
fn what_a_type_may_not_say_is_an_error_where_it_is_said() {
    trybuild::TestCases::new().compile_fail("tests/derive_errors/*.rs");
}
