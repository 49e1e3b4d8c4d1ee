//! Grey images for colour networks, and colour ones for grey networks.

use forgeling::data::{Dataset, ImageSet, ImageShape, InChannels};

fn set(channels: usize, images: &[Vec<u8>]) -> ImageSet {
    let mut set = ImageSet::new(ImageShape::new(channels, 3, 5)).unwrap();
    set.add_class("none", None).unwrap();
    let class = set.add_class("some", None).unwrap();
    for image in images {
        set.push(class, image).unwrap();
    }
    set
}

fn read(data: &impl Dataset, example: usize) -> Vec<f32> {
    let mut image = vec![f32::NAN; data.image_shape().len()];
    data.read(1, example, &mut image).unwrap();
    image
}

#[test]
fn grey_is_repeated_and_comes_back_as_it_was() {
    let images = [(0..15).collect(), (100..115).collect()];
    let grey = set(1, &images);
    let plain = read(&grey, 1);
    let colour = InChannels::new(&grey, 3).unwrap();
    assert_eq!(colour.image_shape(), ImageShape::new(3, 3, 5));
    assert_eq!((colour.class_len(0), colour.class_len(1)), (0, 2));
    assert_eq!(
        (colour.class_count(), colour.class_name(1)),
        (2, "some".into())
    );
    assert_eq!(read(&colour, 1), plain.repeat(3));
    let back = InChannels::new(colour, 1).unwrap();
    assert_eq!(read(&back, 1), plain);
}

#[test]
fn colour_becomes_its_luma() {
    // Planes of red, green and blue, each with values of its own.
    let image: Vec<u8> = (0..45).map(|index| 5 * index as u8).collect();
    let grey = InChannels::new(set(3, &[image]), 1).unwrap();
    assert_eq!(grey.image_shape(), ImageShape::new(1, 3, 5));
    for (place, value) in read(&grey, 0).into_iter().enumerate() {
        let [red, green, blue] = [0, 15, 30].map(|plane| 5.0 * (plane + place) as f64 / 255.0);
        let expected = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        assert!(
            (f64::from(value) - expected).abs() < 1e-6,
            "{place}: {value} and {expected}"
        );
    }
}

#[test]
fn light_colours_stay_in_range() {
    for (red, blue) in [(255, 254), (254, 255), (255, 0), (0, 255)] {
        let image = [vec![red; 15], vec![255; 15], vec![blue; 15]].concat();
        let grey = InChannels::new(set(3, &[image]), 1).unwrap();
        assert!(
            read(&grey, 0)
                .iter()
                .all(|value| (0.0..=1.0).contains(value))
        );
    }
}

#[test]
fn other_numbers_of_channels_are_left_or_refused() {
    let two = set(2, &[(0..30).collect()]);
    let same = InChannels::new(&two, 2).unwrap();
    assert_eq!(read(&same, 0), read(&two, 0));
    for (found, wanted) in [(2, 1), (2, 3), (1, 2), (3, 4), (1, 0), (3, 2)] {
        let error = InChannels::new(set(found, &[]), wanted).unwrap_err();
        assert!(error.is_bad_input());
        let told = format!("images of {found} channels cannot be given {wanted} ");
        assert!(error.to_string().contains(&told), "{error}");
    }
    let colour = InChannels::new(set(1, &[vec![9; 15]]), 3).unwrap();
    for (class, example, len) in [(1, 0, 15), (1, 1, 45), (0, 0, 45), (2, 0, 45)] {
        let read = colour.read(class, example, &mut vec![0.0; len]);
        assert!(read.unwrap_err().is_bad_input());
    }
}
