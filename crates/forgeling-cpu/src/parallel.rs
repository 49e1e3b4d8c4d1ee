//! Work on all threads there are; on one where there is no `rayon`, as in a web page.

/// `f` of each item, in order.
pub fn map<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        items.into_par_iter().map(f).collect()
    }
    #[cfg(not(feature = "rayon"))]
    items.into_iter().map(f).collect()
}

/// `f` of each item, in order, with work space that is made a few times and used again and again.
pub fn map_with<T: Send, R: Send, W>(
    items: Vec<T>,
    space: impl Fn() -> W + Sync + Send,
    f: impl Fn(&mut W, T) -> R + Sync + Send,
) -> Vec<R> {
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        items.into_par_iter().map_init(space, f).collect()
    }
    #[cfg(not(feature = "rayon"))]
    {
        let mut space = space();
        items.into_iter().map(|item| f(&mut space, item)).collect()
    }
}
