/**
 * What a prediction says beyond its record, flat, for the live `state` message: `top_2: "dog 0.05"`,
 * `count: 3`, `box_1: "person 0.93 12,30 200x400"` (left, top, width × height in pixels of the picture). Bounded: the
 * four classes after the best, the eight best boxes, 64 characters each. Pure.
 */
import type { Outcome, Ranked } from './postprocess.ts';

const MOST_CLASSES = 5;
const MOST_BOXES = 8;
const MOST_CHARACTERS = 64;

/** The figures are always whole; a long label is cut. */
const line = ({ label, score }: Ranked, rest = ''): string => {
  const figures = ` ${score.toFixed(2)}${rest}`;
  return label.slice(0, MOST_CHARACTERS - figures.length) + figures;
};

export function detailOf({
  top = [],
  boxes,
}: Pick<Outcome, 'top' | 'boxes'> = {}): Record<string, string | number> {
  const classes = top.slice(1, MOST_CLASSES).map((each, i) => [`top_${i + 2}`, line(each)]);
  if (!boxes) return Object.fromEntries(classes);
  const best = boxes.slice(0, MOST_BOXES).map((box, i) => {
    const [x, y, width, height] = [box.x, box.y, box.width, box.height].map(Math.round);
    return [`box_${i + 1}`, line(box, ` ${x},${y} ${width}x${height}`)];
  });
  return Object.fromEntries([...classes, ['count', boxes.length], ...best]);
}
