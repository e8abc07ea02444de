//! Numbers of the accounts that the programs write as JSON.

use serde_json::Value;

/// A number; `name.name` is one further in.
///
/// # Panics
/// If there is none.
#[must_use]
#[track_caller]
pub fn of(object: &Value, name: &str) -> u64 {
    let value = name.split('.').fold(object, |object, name| &object[name]);
    let number = value.as_u64();
    number.unwrap_or_else(|| panic!("{name} in {object:#}"))
}

/// Holds numbers against words of the form `name=number`.
///
/// # Panics
/// If one is another.
#[track_caller]
pub fn expect(found: &Value, expected: &str) {
    for word in expected.split_whitespace() {
        let (name, number) = word.split_once('=').unwrap_or((word, ""));
        assert_eq!(of(found, name).to_string(), number, "{name} in {found:#}");
    }
}
