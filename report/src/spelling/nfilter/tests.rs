//! Files of flow-nfilter's as filters, and sentences about what is none.

use super::*;

const FILE: &str = "\
# who sends mail
filter-primitive smtp
  type ip-port
  permit smtp,587
  deny 587
  default deny
filter-primitive mail
  type ip-address-prefix
  permit 192.0.2.25
  deny 192.0.2/24
  default permit
filter-primitive big
  type counter
  deny lt 100
  permit ge 50
filter-primitive syn
  type ip-tcp-flags
  mask 0x12
  permit 0x2
filter-primitive low
  type ip-tos
  mask 0xfe
  permit 4
filter-primitive since
  type time-date
  permit ge 2026-11-21 14:00:00
filter-primitive net
  type ip-address-mask
  deny 10.1.0.0 255.255.0.0
  permit 10.0.0.0 255.0.0.0
filter-definition mailers
  match ip-destination-port smtp
  match ip-destination-address mail
filter-definition odd
  invert
  match octets big
  match start-time since
  or
  match ip-tcp-flags syn
  match ip-tos low
  match ip-source-address net
";

#[test]
fn definitions_become_filters() {
    assert_eq!(
        filter(FILE, "mailers").as_deref(),
        Ok("(dst port in [25 587] - [587] and dst not in [192.0.2.0/24] - [192.0.2.25/32])")
    );
    assert_eq!(
        filter(FILE, "odd").as_deref(),
        Ok(
            "not ((((((octets >= 50)) and not ((octets < 100)))) and (((first seen >= 2026-11-21T14:00:00)))) \
            or ((((tcp and flags S and not flags A))) and tos in [4-5] and src in [10.0.0.0/8] - [10.1.0.0/16]))"
        )
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, name, words) in [
        (FILE, "mailer", "did you mean `mailers`?"),
        ("type as", "x", "line 1: `filter-primitive NAME`"),
        (
            "filter-primitive p\n permit 1",
            "x",
            "line 2: `type` comes first",
        ),
        (
            "filter-primitive p\n type ip-port\n permit blub",
            "x",
            "line 3: `blub`",
        ),
        (
            "filter-primitive p\n type as\n permit 9-3",
            "x",
            "line 3: 9-3 is no range",
        ),
        (
            "filter-primitive p\n type tag\n permit 9",
            "x",
            "line 3: Weir's flows carry no tags",
        ),
        (
            "filter-primitive p\n type counter\n permit many",
            "x",
            "line 3: a comparison",
        ),
        (
            "filter-primitive p\n type ip-address-mask\n permit 10.0.0.0 255.0.255.0",
            "x",
            "with gaps",
        ),
        (
            "filter-definition d\n match ip-tos p",
            "d",
            "line 2: there is no filter-primitive `p`",
        ),
        (
            "filter-primitive p\n type as\n permit 1\nfilter-definition d\n match ip-tos p",
            "d",
            "line 5: `ip-tos` takes a primitive of type ip-tos",
        ),
        (
            "filter-definition d\n and",
            "d",
            "line 2: `match TYPE PRIMITIVE`",
        ),
    ] {
        let error = filter(text, name).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}
