//! Sounds as pictures: a clip becomes a log-mel spectrogram, of which networks for images, or along sequences, learn.
//!
//! | module | what it holds |
//! |---|---|
//! | `log_mel` | [`LogMel`]: from samples to a spectrogram with values within 0 and 1 |
//! | `mel` | [`MelScale`] and the bands on it |
//! | `fourier` | the Fourier transform |
//! | `preparation` | [`SoundPreparation`]: how clips of any length become inputs, as a model file keeps it |
//! | `wav`, `resample` | WAV files, at any rate (cargo feature `files`) |
//! | `folder` | one's own sounds: a folder with one folder per class (cargo feature `files`) |

mod fourier;
mod log_mel;
mod mel;
mod preparation;

#[cfg(feature = "files")]
mod folder;
#[cfg(feature = "files")]
mod resample;
#[cfg(feature = "files")]
mod wav;

pub use log_mel::{LogMel, LogMelConfig, Padding, Spectrum};
pub use mel::MelScale;
pub use preparation::{Bands, SoundPreparation};

#[cfg(feature = "files")]
pub use folder::{Heard, SoundFolder, SoundOptions, Sounds, list, load, read};
