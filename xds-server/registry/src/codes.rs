//! Codes of findings about objects of several sources or places together.

use lateen_model::diagnostic::Code;

/// The object stands in several places; one of them counts.
pub const DUPLICATE: Code = Code("LAT2401");
/// Several objects configure the mesh; one of them counts.
pub const MESH_CONFIG: Code = Code("LAT2402");
/// Definitions of one service disagree about a port.
pub const SERVICE_PORT: Code = Code("LAT2403");

/// Every code with what it means.
pub const ALL: &[(Code, &str)] = &[
    (DUPLICATE, "The object stands in several places; one of them counts."),
    (MESH_CONFIG, "Several objects configure the mesh; one of them counts."),
    (SERVICE_PORT, "Definitions of one service disagree about a port."),
];
