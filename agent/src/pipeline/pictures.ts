/** Pictures as a model takes them: the port, and the work itself on decoded pixels. Pure. */
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { TensorData } from '../inference/backend.ts';
import type { Picture } from '../sources/port.ts';
import { imageTensor, type Placement, pictureRow, placementOf } from './picture-tensor.ts';
import type { Pixels } from './pixels.ts';

export interface PreparedPicture {
  /** Dense, in the shape of `imageDims`. */
  data: TensorData;
  /** How the picture lies on the model's image: boxes go back through it. */
  place: Placement;
  /** Brightness and contrast, for drift. */
  row: Float64Array;
}

/** Decodes and prepares pictures without holding up the caller's thread. */
export interface Pictures {
  /** @throws SkeinError IMAGE_INVALID, IMAGE_TOO_LARGE, OVERLOADED */
  prepare(picture: Picture, preprocess: ImagePreprocess): Promise<PreparedPicture>;
  close(): Promise<void>;
}

export const preparedPixels = (preprocess: ImagePreprocess, pixels: Pixels): PreparedPicture => ({
  data: imageTensor(preprocess, pixels),
  place: placementOf(preprocess, pixels.width, pixels.height),
  row: pictureRow(pixels),
});
