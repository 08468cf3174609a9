"""Open data sets with natural images: from their authors' files to a tree in NSD's layout.

- `bold5000`: BOLD5000, Release 2.0 (Chang et al. 2019, Scientific Data 6:49). No form.
  `bold5000_standin` writes planted data in its layout.
- `laion_fmri`: LAION-fMRI (2026). No form for responses, an agreement for the images.
- `miyawaki2008`: Miyawaki et al. (2008), Neuron 60:915-929, as nilearn fetches it. No form, and no tree: an
  exercise with images of 10 x 10 patches. `miyawaki_stand_in` simulates its files.

The first two have ``download_source`` (what to download, and under which terms) and a function that imports.

What the authors' files look like was learned from their documentation and from public programs that read
them. None of the files was at hand when this was written. So every name is checked, and a surprise is refused
by name.
"""
