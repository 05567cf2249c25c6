//! What a server must get right, by number (`docs/conformance.md` lists them), and which cases prove it.

use std::fmt::Write;

/// How an obligation is proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// By these cases.
    Cases(&'static [&'static str]),
    /// By what is looked at in every response of every case (`Stream::receive`).
    EveryResponse,
    /// Not over the wire, for this reason.
    Untestable(&'static str),
}

/// An obligation of a server.
#[derive(Clone, Copy, Debug)]
pub struct Obligation {
    /// Its number.
    pub number: u8,
    /// In a few words.
    pub text: &'static str,
    /// How it is proved.
    pub proof: Proof,
}

const fn cases(number: u8, text: &'static str, cases: &'static [&'static str]) -> Obligation {
    Obligation { number, text, proof: Proof::Cases(cases) }
}

const fn not(number: u8, text: &'static str, reason: &'static str) -> Obligation {
    Obligation { number, text, proof: Proof::Untestable(reason) }
}

const fn always(number: u8, text: &'static str) -> Obligation {
    Obligation { number, text, proof: Proof::EveryResponse }
}

/// All of them.
pub const OBLIGATIONS: [Obligation; 92] = [
    cases(1, "all four variants, each with its own method", &["A1", "K1", "K5", "K6", "K7", "K9"]),
    cases(2, "the node of the first request holds for the stream", &["A1"]),
    cases(3, "a later node does not re-key the stream", &["A2"]),
    cases(4, "a first request without a node is defined", &["A3"]),
    cases(5, "an aggregated request names its type; elsewhere it is implied", &["A4", "A5"]),
    cases(6, "an unknown type disturbs no other", &["A6"]),
    always(7, "resources have the type of their response"),
    cases(8, "each type has its own versions", &["B11", "B12"]),
    cases(9, "several streams for one type are independent", &["A7"]),
    not(10, "control_plane.identifier is set", "the field is optional"),
    cases(11, "nonces are unique in a stream", &["B1", "B10"]),
    cases(12, "an acknowledgement without change gets no response", &["B2"]),
    cases(13, "a rejection is known by error_detail alone", &["B5"]),
    cases(14, "what was rejected is not sent again", &["B3", "F10"]),
    cases(15, "a rejection that names the current version is one", &["B5"]),
    cases(16, "a rejection may change the subscription", &["B6", "E13"]),
    cases(17, "a first request with error_detail is a first request", &["B7"]),
    cases(18, "a stale nonce gets no response, and loses no names", &["B8", "B9"]),
    cases(19, "a newer request replaces the older", &["B9", "B13"]),
    cases(20, "versions belong to resources, not to streams", &["F4", "F9", "L9"]),
    cases(21, "another content, another version", &["D7"]),
    cases(22, "the same content, the same version", &["D7", "F9", "L9"]),
    cases(23, "an answer may take long", &["B12", "G6"]),
    cases(24, "an empty first request is a wildcard", &["C1"]),
    cases(25, "* is a wildcard", &["C2"]),
    cases(26, "* with names", &["C3"]),
    cases(27, "after names, an empty list is none", &["C5", "C4"]),
    cases(28, "an empty first request of other types", &["C6"]),
    cases(29, "a named subset of listeners or clusters", &["C7"]),
    cases(30, "a name added at an unchanged version is sent", &["C8", "C9"]),
    cases(31, "a name left out is not updated", &["C10"]),
    cases(32, "left out and named again, it is sent again", &["C11"]),
    cases(33, "an unknown name is remembered", &["C12"]),
    cases(34, "listeners and clusters are complete", &["D1", "D2"]),
    cases(35, "deletion by absence", &["D3", "D4", "D5"]),
    cases(36, "odd lists of names are tolerated", &["C13"]),
    cases(37, "large requests are taken", &["L4"]),
    cases(38, "an empty first subscription is a wildcard", &["E1", "E2"]),
    not(
        39,
        "a first request that only unsubscribes",
        "the specification says two things: a wildcard if nothing is subscribed to, and only if nothing is given up either",
    ),
    cases(40, "giving up * keeps names; giving up all is nothing", &["E4", "E5"]),
    cases(41, "a subscription to what is held is answered", &["E8"]),
    cases(42, "an unknown name is removed at once", &["E9"]),
    cases(43, "an unknown name is sent when it exists", &["E10"]),
    cases(44, "giving up what was not subscribed", &["E11"]),
    cases(45, "giving up a name under a wildcard is answered", &["E6", "E7"]),
    cases(46, "giving up names otherwise needs no response", &["E5", "E11"]),
    cases(47, "a stale nonce does not stop a subscription", &["E12"]),
    cases(48, "acknowledgements and rejections may subscribe", &["E13"]),
    cases(49, "a name both subscribed and unsubscribed", &["E14"]),
    cases(50, "initial_resource_versions", &["F4", "F5", "F6"]),
    cases(51, "a name both subscribed and held", &["F7"]),
    cases(52, "what is held is no subscription", &["F8"]),
    cases(53, "a reconnected wildcard is answered, if with nothing", &["F4"]),
    cases(54, "resources have names and versions", &["D7", "F1"]),
    cases(55, "no removal of what was never sent", &["F1", "K6"]),
    cases(56, "aliases", &["K1", "K2"]),
    always(57, "no name twice in a response, nor both brought and removed"),
    cases(58, "errors about resources", &["H1", "H2", "H3", "H4", "H5", "H6"]),
    cases(59, "make before break", &["G1", "G2", "G3", "G14"]),
    cases(60, "listeners and routes wait for clusters, endpoints do not", &["G6", "G7"]),
    cases(61, "a rejection stops its dependents", &["G8", "G9"]),
    cases(62, "endpoints behind every change of their cluster", &["G4", "G5", "G10"]),
    cases(63, "routes behind listeners, when asked for", &["G1"]),
    cases(64, "warming always ends", &["G11"]),
    cases(65, "warming with endpoints one by one", &["G12"]),
    cases(66, "large responses are split", &["L3"]),
    cases(67, "no route names a cluster the client lacks", &["G1", "G2", "G3", "G14"]),
    cases(68, "a request need not name everything there is", &["C7", "G12"]),
    cases(69, "times to live, heartbeats, and their end", &["I2", "I3", "I6"]),
    cases(70, "the wrapper goes to those who read it", &["I1", "I4", "I5"]),
    cases(71, "heartbeats come in time", &["I2"]),
    cases(72, "xdstp: names are normalised", &["J1", "J2", "J3"]),
    cases(73, "globs", &["J4", "J5", "J6"]),
    cases(74, "list collections", &["J7"]),
    cases(75, "foreign authorities", &["J9"]),
    not(
        76,
        "service_name for clusters with xdstp: names",
        "what a resource holds is its author's; raw resources are served as told",
    ),
    cases(77, "dynamic parameters", &["J8"]),
    cases(78, "virtual hosts", &["G13", "K1", "K2"]),
    cases(79, "clusters on demand", &["K3", "K4"]),
    cases(80, "extension configurations, secrets, runtime", &["K6", "K7", "K9"]),
    cases(81, "secrets only to their node", &["K7", "K8"]),
    cases(82, "a client that does not read", &["L1", "L2"]),
    cases(83, "bursts are merged", &["G14", "L2"]),
    cases(84, "requests are limited in rate", &["L6"]),
    not(
        85,
        "streams end gracefully",
        "how long a stream may live is the operator's choice; how it ends is looked at in A8 and L9",
    ),
    cases(86, "a server that knows nothing yet removes nothing", &["L8"]),
    not(87, "the port is secured", "cases speak plaintext; our server's own tests speak TLS and mTLS"),
    not(
        88,
        "client status (CSDS)",
        "another service than the discovery services; our server's own tests ask it (server/tests/server/csds.rs)",
    ),
    not(89, "load reports (LRS)", "another service than the protocol's"),
    not(90, "what was sent can be looked up", "there is no common interface to ask"),
    not(91, "metrics", "there is no common interface to ask"),
    not(92, "REST polling", "optional, and another transport"),
];

/// The list as a Markdown table, as it stands in `docs/conformance.md`.
pub fn table() -> String {
    let mut table = String::from("| | a server's obligation | proved by |\n|---|---|---|\n");
    for Obligation { number, text, proof } in OBLIGATIONS {
        let proof = match proof {
            Proof::Cases(cases) => cases.join(", "),
            Proof::EveryResponse => "every response of every case".to_owned(),
            Proof::Untestable(reason) => format!("untestable: {reason}"),
        };
        let _ = writeln!(table, "| {number} | {text} | {proof} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_number_is_there_and_every_case_exists() {
        let ids: BTreeSet<&str> = crate::cases::all().map(|c| c.id).collect();
        for (index, obligation) in OBLIGATIONS.iter().enumerate() {
            assert_eq!(usize::from(obligation.number), index + 1);
            if let Proof::Cases(cases) = obligation.proof {
                assert!(!cases.is_empty(), "obligation {} has no case", obligation.number);
                for case in cases {
                    assert!(
                        ids.contains(case),
                        "obligation {} names {case}, which does not exist",
                        obligation.number
                    );
                }
            }
        }
    }

    #[test]
    fn the_page_has_this_table() {
        let page = include_str!("../../docs/conformance.md");
        assert!(page.contains(&table()), "docs/conformance.md lacks\n{}", table());
    }

    #[test]
    fn all_wire_cases_of_the_list_are_there_once() {
        let groups = [
            ("A", 8),
            ("B", 13),
            ("C", 13),
            ("D", 7),
            ("E", 14),
            ("F", 10),
            ("G", 14),
            ("H", 6),
            ("I", 6),
            ("J", 9),
            ("K", 9),
            ("L", 9),
        ];
        let listed =
            groups.iter().flat_map(|(group, count)| (1..=*count).map(move |n| format!("{group}{n}")));
        let cases: Vec<String> = crate::cases::all().map(|c| c.id.to_owned()).collect();
        assert_eq!(cases, listed.collect::<Vec<_>>());
        assert_eq!(cases.len(), 118);
    }
}
