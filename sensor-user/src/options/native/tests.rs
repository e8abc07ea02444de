//! Command lines, files of settings, and which of them go together.

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Options::command().debug_assert();
}

#[test]
fn the_later_of_two_values_counts_and_collectors_add_up() {
    let line = "weir-sensor -i eth0 -m 10 -m 20 -n a:1,b:2 -n c:3 -c none --daemon -d tcp or udp";
    let line: Vec<OsString> = line.split(' ').map(Into::into).collect();
    let Ok(settings) = settings(&line) else {
        panic!("{line:?} is refused")
    };
    assert_eq!(settings.flows_per_cpu, Some(20));
    assert_eq!(settings.collectors, ["a:1", "b:2", "c:3"]);
    assert_eq!(settings.control.path, None);
    assert!(!settings.daemon);
    assert_eq!(settings.filter.as_deref(), Some("tcp or udp"));
}

fn parsed(arguments: &str) -> Result<Settings, Refusal> {
    let line = format!("weir-sensor {arguments}");
    let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
    settings(&words)
}

#[test]
fn fields_are_what_was_asked_for_and_what_the_track_level_implies() {
    let fields = |arguments: &str| {
        let settings = parsed(&format!("-r - {arguments}"));
        settings.ok().map(|settings| settings.fields())
    };
    assert_eq!(fields(""), Some(Fields::NONE));
    assert_eq!(
        fields("--fields inner-vlan,mpls --fields flow-label"),
        Some(Fields::INNER_VLAN.and(Fields::MPLS).and(Fields::FLOW_LABEL))
    );
    assert_eq!(fields("-T ether"), Some(Fields::MAC));
    assert_eq!(fields("-T VLAN --fields mac"), Some(Fields::MAC));
    assert_eq!(fields("--fields outer"), None);
    assert_eq!(fields("--fields outer --tunnels gre"), Some(Fields::OUTER));
}

#[test]
fn sources_that_go_together_and_those_that_do_not() {
    for (arguments, right) in [
        ("-i eth0 -i eth1", true),
        ("--detach --pin d", true),
        ("--detach -i eth0", true),
        ("--detach -i eth0 --pin d", true),
        ("--detach", false),
        ("", false),
        ("-i eth0 -r file", false),
        ("-r file --detach --pin d", false),
        ("-R 4739 -i eth0", true),
        ("-R 4739 -r file", true),
        ("-R 4739 --detach --pin d", false),
    ] {
        assert_eq!(parsed(arguments).is_ok(), right, "{arguments}");
    }
}

#[test]
fn a_file_that_is_wrong_does_not_keep_programs_on() {
    let path = std::env::temp_dir().join(format!("weir-{}-detach.toml", std::process::id()));
    std::fs::write(&path, "collector = [\"a:1\"]\nnonsense = 1\n").unwrap();
    let line = |rest: &str| format!("--config {} {rest}", path.display());
    assert!(parsed(&line("-i eth0")).is_err());
    assert!(parsed(&line("--detach --pin d --check")).is_err());
    let Ok(settings) = parsed(&line("--detach --pin /d -n b:2")) else {
        panic!("refused")
    };
    assert_eq!(settings.pin, Some("/d".into()));
    assert_eq!(settings.collectors, ["b:2"]);
    let [note] = settings.notes.as_slice() else {
        panic!("{:?}", settings.notes)
    };
    assert!(note.contains("detach.toml:2: nonsense: "), "{note}");
    // What is right counts, also that which only a sensor needs.
    std::fs::write(&path, "collector = [\"a:1\"]\nmetrics = \"[::1]:9464\"\n").unwrap();
    let Ok(settings) = parsed(&line("--detach --pin /d")) else {
        panic!("refused")
    };
    assert_eq!((settings.collectors.len(), settings.notes.len()), (1, 0));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_the_shipped_file_shows_as_defaults_are_the_defaults() {
    let shipped = include_str!("../../../../packaging/sensor.toml");
    let (_, defaults) = shipped.split_once("# The defaults: ").unwrap();
    let (defaults, _) = defaults.split_once("\n\n").unwrap();
    let keys = defaults.lines().filter_map(|line| line.strip_prefix("# "));
    let keys: Vec<&str> = keys.filter(|line| line.contains(" = ")).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let path = std::env::temp_dir().join(format!("weir-{}-shown.toml", std::process::id()));
    std::fs::write(&path, keys.join("\n")).unwrap();
    let shown = parsed(&format!("-i eth0 --config {}", path.display()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(shown.unwrap(), parsed("-i eth0").unwrap());
}

#[test]
fn a_file_says_everything_or_nothing() {
    for (line, alone) in [
        ("weir-sensor --softflowd-conf x --check", true),
        ("weir-sensor --check --softflowd-conf=x", true),
        ("weir-sensor --softflowd-conf x -N", false),
        ("weir-sensor --softflowd-conf=x tcp", false),
    ] {
        let line: Vec<OsString> = line.split(' ').map(Into::into).collect();
        assert_eq!(stands_alone(&line), alone, "{line:?}");
    }
}

#[test]
fn a_number_before_any_is_that_of_all_interfaces() {
    let given = |arguments: &str| parsed(arguments).ok().map(|s| s.ifindexes_given());
    assert_eq!(given("-i 7:any"), Some(vec![Some(7); 127]));
    assert_eq!(given("-i any"), Some(vec![None; 127]));
    assert_eq!(given("-i 7:a -i b"), Some(vec![Some(7), None]));
}

#[test]
fn what_seems_to_work_and_does_not_is_said_or_refused() {
    let refusal = |arguments: &str| parsed(arguments).ok().and_then(|s| s.refusal());
    let sentence = refusal("-i a --daemon --statistics-json -").unwrap();
    assert!(sentence.ends_with("name a file"), "{sentence}");
    assert_eq!(refusal("-i a --statistics-json -"), None);
    assert_eq!(refusal("-i a --daemon --statistics-json f"), None);

    let notes = |arguments: &str| parsed(arguments).ok().map(|s| s.notes);
    assert_eq!(notes("-i a -v 1"), Some(vec![]));
    let without_effect = "-i a: without effect beside -i any".to_owned();
    assert_eq!(notes("-i a -i any"), Some(vec![without_effect]));
    let notes = notes("-i a -v 1 -s 100").unwrap();
    assert!(
        notes[0].contains("cannot say that packets are sampled"),
        "{notes:?}"
    );
}
