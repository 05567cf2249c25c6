//! Codes of findings about objects of several sources or places together.

use lateen_model::diagnostic::Code;

/// The object stands in several places; one of them counts.
pub const DUPLICATE: Code = Code("LAT2401");
/// Several objects configure the mesh; one of them counts.
pub const MESH_CONFIG: Code = Code("LAT2402");
/// Definitions of one service disagree about a port.
pub const SERVICE_PORT: Code = Code("LAT2403");
/// So much went from a source at once that it is held until confirmed.
pub const REMOVALS_HELD: Code = Code("LAT2404");
/// A definition of a service names another port than the one that counts.
pub const SERVICE_PORTS: Code = Code("LAT2405");
/// Definitions of one service disagree about how its instances are found.
pub const SERVICE_RESOLUTION: Code = Code("LAT2406");
/// An instance, or one of its ports, can't be reached and is left out.
pub const ENDPOINT: Code = Code("LAT2407");
/// The weight of an instance is bounded.
pub const WEIGHT: Code = Code("LAT2408");
/// A configuration of the mesh outside its namespace has no effect.
pub const MESH_NAMESPACE: Code = Code("LAT2409");

/// Two objects route one port of a gateway that carries connections; one of them gets these.
pub const STREAM_TAKEN: Code = Code("LAT2410");

/// Every code with what it means.
pub const ALL: &[(Code, &str)] = &[
    (DUPLICATE, "The object stands in several places; one of them counts."),
    (MESH_CONFIG, "Several objects configure the mesh; one of them counts."),
    (SERVICE_PORT, "Definitions of one service disagree about a port."),
    (REMOVALS_HELD, "So much went from a source at once that it is held until confirmed."),
    (SERVICE_PORTS, "Definitions of one service of several sources have different ports."),
    (SERVICE_RESOLUTION, "Definitions of one service disagree about how its instances are found."),
    (ENDPOINT, "An instance, or one of its ports, can't be reached and is left out."),
    (WEIGHT, "The weight of an instance is more than counts."),
    (MESH_NAMESPACE, "A configuration of the mesh outside its namespace has no effect."),
    (
        STREAM_TAKEN,
        "Two objects route one port of a gateway that carries connections; one of them gets these.",
    ),
];
