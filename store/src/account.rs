//! The exporters' accounts as files keep them: a list of streams with their counts, as JSON. A stream is
//! an exporter, an export version and a domain; its counts only climb (`lost` may fall, when late datagrams take
//! back what was missing, and all that numbers say, when they are read another way), and begin anew with the collector.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The metadata's key for the accounts since the collector started.
pub const TOTALS: &str = "weir.exporters";
/// The metadata's key for what of them is of this file.
pub const SHARE: &str = "weir.window";
/// What tells streams apart.
const NAMES: [&str; 3] = ["exporter", "version", "source_id"];
/// What is told as it was last.
const LAST: [&str; 4] = ["port", "templates", "waiting_sets", "sources"];

type Stream = [String; NAMES.len()];

/// What came to be between two accounts: of each stream that was heard meanwhile its counts since.
#[must_use]
pub fn since(now: &Value, before: &Value) -> Value {
    let before = streams(before);
    let shares = streams(now).into_iter().filter_map(|(stream, now)| {
        let heard = |counts: &Map<String, Value>| number(counts, "datagrams");
        let (nothing, earlier) = (Map::new(), before.get(&stream).copied());
        // One that made room for others and came back counts from zero, like a collector that started.
        let earlier = earlier.filter(|earlier| heard(earlier) <= heard(now));
        let earlier = earlier.unwrap_or(&nothing);
        let is_heard =
            heard(now) > heard(earlier) || number(now, "lost") != number(earlier, "lost");
        is_heard.then(|| combined(now, earlier, i128::wrapping_sub))
    });
    shares.collect()
}

/// The counts of several shares together.
#[must_use]
pub fn sum<'a>(shares: impl IntoIterator<Item = &'a Value>) -> Value {
    let mut sums: BTreeMap<Stream, Value> = BTreeMap::new();
    for (stream, counts) in shares.into_iter().flat_map(streams) {
        let sum = match sums.get(&stream).and_then(Value::as_object) {
            Some(sum) => combined(counts, sum, i128::wrapping_add),
            None => Value::Object(counts.clone()),
        };
        sums.insert(stream, sum);
    }
    sums.into_values().collect()
}

fn streams(account: &Value) -> BTreeMap<Stream, &Map<String, Value>> {
    let streams = account.as_array().into_iter().flatten();
    streams
        .filter_map(Value::as_object)
        .map(|counts| {
            let name = |name: &str| counts.get(name).map(Value::to_string).unwrap_or_default();
            (NAMES.map(name), counts)
        })
        .collect()
}

fn number(counts: &Map<String, Value>, name: &str) -> i128 {
    counts.get(name).and_then(integer).unwrap_or(0)
}

fn integer(value: &Value) -> Option<i128> {
    let signed = value.as_i64().map(i128::from);
    signed.or_else(|| value.as_u64().map(i128::from))
}

/// The counts of `now` and `other`, each with each; names, units and what is told as it was last are those
/// of `now`.
fn combined(
    now: &Map<String, Value>,
    other: &Map<String, Value>,
    combine: fn(i128, i128) -> i128,
) -> Value {
    let entries = now.iter().filter_map(|(name, value)| {
        if NAMES.contains(&name.as_str()) {
            return Some((name.clone(), value.clone()));
        }
        if LAST.contains(&name.as_str()) {
            return None;
        }
        match integer(value) {
            Some(count) => {
                let count = combine(count, number(other, name));
                // Two that fit 64 bits nearly always have a sum that does.
                let count = i64::try_from(count).map_or(Value::Null, Value::from);
                Some((name.clone(), count))
            }
            // Units, and what is not known; what exporters said about themselves adds up to nothing.
            None if value.is_object() => None,
            None => Some((name.clone(), value.clone())),
        }
    });
    Value::Object(entries.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream(exporter: &str, datagrams: u64, lost: u64) -> Value {
        json!({
            "exporter": exporter, "version": 9, "source_id": 7, "port": 2055, "datagrams": datagrams,
            "records": 10 * datagrams, "lost": lost, "lost_unit": "datagrams",
            "interfaces": { "1": { "name": "eth0" } },
        })
    }

    fn share(exporter: &str, datagrams: u64, lost: i64) -> Value {
        json!({
            "exporter": exporter, "version": 9, "source_id": 7, "datagrams": datagrams,
            "records": 10 * datagrams, "lost": lost, "lost_unit": "datagrams",
        })
    }

    #[test]
    fn a_share_is_what_came_meanwhile() {
        let before = json!([stream("a", 100, 5), stream("b", 7, 0), stream("d", 50, 0)]);
        let now = json!([
            stream("a", 160, 3),
            stream("b", 7, 0),
            stream("c", 2, 1),
            stream("d", 4, 0),
        ]);
        let expected = json!([share("a", 60, -2), share("c", 2, 1), share("d", 4, 0)]);
        assert_eq!(since(&now, &before), expected);
        assert_eq!(since(&now, &now), json!([]));
        assert_eq!(since(&Value::Null, &now), json!([]));
        assert_eq!(
            since(&json!([stream("a", 1, 0)]), &Value::Null),
            json!([share("a", 1, 0)])
        );
    }

    /// Version 1 has no numbers: what is not known stays so.
    #[test]
    fn what_is_not_known_is_not_known_of_a_share() {
        let of = |datagrams: u64| json!([{ "exporter": "a", "version": 1, "source_id": 0, "datagrams": datagrams, "lost": null }]);
        assert_eq!(since(&of(5), &of(3)), of(2));
    }

    #[test]
    fn shares_add_up() {
        let one = json!([share("a", 60, -2), share("b", 1, 0)]);
        let other = json!([share("a", 5, 3)]);
        let expected = json!([share("a", 65, 1), share("b", 1, 0)]);
        assert_eq!(sum([&one, &other]), expected);
    }
}
