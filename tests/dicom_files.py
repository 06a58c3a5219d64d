"""DICOM twins of NIfTI volumes: series of single slices, one enhanced multi-frame file, segmentations by highdicom."""

from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid


def uid(*names):
    return generate_uid(entropy_srcs=[str(name) for name in names])


def number(value):
    return f"{value:.10f}"[:16]


class Grid:
    """A volume as a scanner stores it: axial slices from the feet up, rows to the back, columns to the left."""

    def __init__(self, image):
        image = nib.as_closest_canonical(image)
        array = np.asarray(image.dataobj)
        assert np.array_equal(array, np.round(array)), "only whole numbers are stored exactly"
        self.slices = np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0)).astype(np.uint16)
        flip = np.diag([-1.0, -1.0, 1.0, 1.0])
        flip[:2, 3] = np.array(array.shape[:2]) - 1
        self.affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine @ flip  # to LPS millimetres
        self.spacing = nib.affines.voxel_sizes(self.affine)

    def position(self, z):
        return [number(x) for x in (self.affine @ [0, 0, z, 1])[:3]]

    @property
    def orientation(self):
        cosines = self.affine[:3, :2] / self.spacing[:2]
        return [number(x) for x in cosines.T.ravel()]

    @property
    def measures(self):
        item = Dataset()
        item.PixelSpacing = [number(self.spacing[1]), number(self.spacing[0])]
        item.SliceThickness = item.SpacingBetweenSlices = number(self.spacing[2])
        return item


def header(grid, patient, name, kind, instance):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = kind
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid(patient, name, instance)
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(patient), uid(patient, name)
    data.FrameOfReferenceUID = uid(patient, "frame", name[:3])
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = (
        f"Doe^{patient}",
        f"MRN-{patient}",
        "",
        "",
    )
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20200101", "120000", "1", ""
    data.ReferringPhysicianName, data.PositionReferenceIndicator = "", ""
    data.Modality, data.Manufacturer, data.SeriesNumber, data.InstanceNumber = "MR", "Maker", 1, instance
    data.Rows, data.Columns = grid.slices.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def single_slices(volumes, patient, name, *, say=None, seed=1):
    """Return the slices of volumes (b-value, or None, to image) as one series, numbered in no order."""
    made = []
    for b, image in volumes.items():
        grid = Grid(image)
        for z, pixels in enumerate(grid.slices):
            data = header(grid, patient, name, MRImageStorage, 0)
            data.ImagePositionPatient, data.ImageOrientationPatient = grid.position(z), grid.orientation
            data.update(grid.measures)
            data.PixelData = pixels.tobytes()
            if b is not None:
                (say or standard)(data, b)
            made.append(data)
    for instance, place in enumerate(np.random.default_rng(seed).permutation(len(made)), start=1):
        made[place].InstanceNumber = instance
        made[place].SOPInstanceUID = made[place].file_meta.MediaStorageSOPInstanceUID = uid(patient, name, instance)
    return made


def standard(data, b):
    data.DiffusionBValue = float(b)


def siemens(data, b):
    data.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", int(b))


def ge(data, b):
    data.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [1_000_000_000 + int(b), 8, 0, 0])


def philips(data, b):
    data.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", float(b))


def multi_frame(volumes, patient, name, *, seed=2, directions=False):
    """Return volumes (b-value to image) as one enhanced file, its frames in no order."""
    grids = {b: Grid(image) for b, image in volumes.items()}
    first = next(iter(grids.values()))
    data = header(first, patient, name, EnhancedMRImageStorage, 1)
    shared, plane = Dataset(), Dataset()
    plane.ImageOrientationPatient = first.orientation
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([plane]), Sequence([first.measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups, pixels = [], []
    for b, grid in grids.items():
        for z, slice_ in enumerate(grid.slices):
            for way in ("ISOTROPIC", "DIRECTIONAL") if directions and b else ("ISOTROPIC",):
                group, place, diffusion = Dataset(), Dataset(), Dataset()
                place.ImagePositionPatient = grid.position(z)
                group.PlanePositionSequence = Sequence([place])
                if b is not None:
                    diffusion.DiffusionBValue, diffusion.DiffusionDirectionality = float(b), way if b else "NONE"
                    group.MRDiffusionSequence = Sequence([diffusion])
                groups.append(group)
                pixels.append(slice_ if way == "ISOTROPIC" else slice_ // 2)
    order = np.random.default_rng(seed).permutation(len(groups))
    data.PerFrameFunctionalGroupsSequence = Sequence([groups[place] for place in order])
    data.NumberOfFrames = len(groups)
    data.PixelData = np.stack([pixels[place] for place in order]).tobytes()
    return data


def segmentation(mask, source, patient, name):
    """Return a mask as a DICOM segmentation drawn on a series of single slices; empty slices are left out."""
    grid = Grid(mask)
    source = sorted(source, key=lambda s: s.InstanceNumber)
    places = np.array([s.ImagePositionPatient for s in source], dtype=float)
    found = [int(np.argmin(np.abs(places[:, 2] - float(grid.position(z)[2])))) for z in range(len(grid.slices))]
    array = np.zeros_like(grid.slices, dtype=bool)
    array[found] = grid.slices > 0
    described = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="tumour",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="MANUAL",
    )
    return highdicom.seg.Segmentation(
        source_images=source,
        pixel_array=array,
        segmentation_type="BINARY",
        segment_descriptions=[described],
        series_instance_uid=uid(patient, name),
        series_number=2,
        sop_instance_uid=uid(patient, name, "file"),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Model",
        software_versions="1",
        device_serial_number="1",
    )


def save(data, path: Path):
    """Write one dataset to a file, or a list of them into a folder."""
    if isinstance(data, list):
        path.mkdir(parents=True)
        for place, one in enumerate(data):
            one.save_as(path / f"IM{place:04d}", enforce_file_format=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
    return path
