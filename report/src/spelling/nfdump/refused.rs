//! What of nfdump's command line Weir has not, or has elsewhere, with the words to use.

/// Options that have no equivalent, and what to use.
pub const REFUSED: [(char, &str); 20] = [
    (
        'w',
        "-w writes nfdump's files: `weir export -r DIR -w FILE --as nfdump 'FILTER'` does",
    ),
    (
        'g',
        "-g is for gnuplot: `weir series -r DIR` has flows over time, and draws them",
    ),
    (
        'D',
        "-D asks a name server: Weir takes the system's; leave -D out",
    ),
    (
        'G',
        "-G reads nfdump's own database of countries: leave -G out",
    ),
    (
        'H',
        "-H reads nfdump's own database of Tor exits: leave -H out",
    ),
    (
        'i',
        "-i renames a source in a file: Weir tells exporters apart by address, `router ip A`",
    ),
    ('v', "-v verifies a file: use `weir-collector verify DIR`"),
    (
        'x',
        "-x lists maps of nfdump 1.6's files, which Weir's have not",
    ),
    (
        'J',
        "-J recompresses files: use `weir-collector recompact DIR`",
    ),
    (
        'X',
        "-X prints nfdump's own filter engine; Weir points at what it does not understand",
    ),
    (
        'Z',
        "-Z checks a filter: `weir flows -r DIR -n 1 'FILTER'` does, and points at what is wrong",
    ),
    (
        'T',
        "-T tags addresses for NfSen: leave it out, or use `weir flows -o ndjson`",
    ),
    ('V', "use `weir --version`"),
    (
        'h',
        "`weir nfdump` takes nfdump's options, as in `weir nfdump -r DIR -s srcip/bytes -n 10 'FILTER'`; --native prints Weir's own command; `weir --help` lists those",
    ),
    ('e', "-e is not known to nfdump 1.7: leave it out"),
    (
        'l',
        "-l is nfdump 1.6's limit of packets: say `packets > N` in the filter",
    ),
    (
        'L',
        "-L is nfdump 1.6's limit of bytes: say `bytes > N` in the filter",
    ),
    (
        'K',
        "-K anonymises: `weir-collector anonymise DIR DIR2 --key FILE` does, and `weir` asks DIR2",
    ),
    (
        'C',
        "-C reads nfdump's configuration: say the format with -o 'fmt:…'",
    ),
    ('P', "-P is for groups: use it with -a or -A"),
];

/// Formats that print what Weir's files have not, or that are gone.
pub const FORMATS_REFUSED: [(&str, &str); 8] = [
    (
        "pipe",
        "the pipe format is gone from nfdump, too: use -o csv",
    ),
    ("raw", "use -o ndjson, which has every column"),
    ("gline", "Weir's files have no countries: use -o line"),
    ("glong", "Weir's files have no countries: use -o long"),
    ("nsel", "Weir's files have no firewall events: use -o line"),
    ("nel", "Weir's files have no NAT events: use -o line"),
    ("nat", "Weir's files have no NAT events: use -o line"),
    ("tor", "Weir knows no Tor exits: use -o line"),
];
