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
        "-G reads nfdump's own database of countries: leave -G out, and put a MaxMind database into the library's folder \
         names (`weir flows --names FILE.mmdb`)",
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
        "-x lists maps of nfdump 1.6's files, or changes a setting of 1.8's; Weir has neither: leave it out",
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
        "-l is nfdump 1.6's limit of packets, for which the filter has `packets > N`, and 1.8's level of messages: leave \
         it out",
    ),
    (
        'L',
        "-L is nfdump 1.6's limit of bytes: say `bytes > N` in the filter",
    ),
    (
        'K',
        "-K anonymises in nfdump 1.6, as `weir-collector anonymise DIR DIR2 --key FILE` does, and decrypts files in 1.8, \
         which Weir's are not: leave it out",
    ),
    (
        'C',
        "-C reads nfdump's configuration: say the format with -o 'fmt:…'",
    ),
    (
        'P',
        "-P is for groups, both directions in a line and sorted flows: use it with -a, -A, -b, -B or -O",
    ),
];

/// Formats that print what Weir's files have not, or that are gone.
pub const FORMATS_REFUSED: [(&str, &str); 3] = [
    (
        "pipe",
        "the pipe format is gone from nfdump, too: use -o csv",
    ),
    ("raw", "use -o ndjson, which has every column"),
    ("tor", "Weir knows no Tor exits: use -o line"),
];
