/** uPlot as a component: follows its box, the theme and its data; made anew only when its shape changes. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';
import { themeTurn } from '../theme.ts';
import { type PlotShape, plotOptions, type Readout } from './plot-options.ts';

export type Columns = [number[], ...(number | null)[][]];

interface PlotProps {
  shape: PlotShape;
  data: Columns;
  /** Under the cursor; undefined when it leaves. */
  onReadout?: (readout: Readout | undefined) => void;
  empty?: string;
  loading?: boolean;
}

export function Plot({ shape, data, onReadout, empty = 'No readings yet', loading = false }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef({ data, onReadout });
  latest.current = { data, onReadout };
  const width = useWidth(box);
  const turn = themeTurn.value;
  const { label, ...drawn } = shape;

  // The key stands for the shape, `turn` for the colours that are read from CSS. uPlot is half of the bundle and
  // only some pages draw with it, so it is a file of its own.
  useEffect(() => {
    let gone = false;
    void import('uplot').then(({ default: UPlot }) => {
      if (gone || !box.current || width === 0) return;
      const options = plotOptions(shape, width, box.current, (readout) =>
        latest.current.onReadout?.(readout),
      );
      plot.current = new UPlot(options, latest.current.data as uPlot.AlignedData, box.current);
    });
    return () => {
      gone = true;
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [JSON.stringify(drawn), width, turn]);

  useEffect(() => plot.current?.setData(data as uPlot.AlignedData), [data]);

  return (
    <figure class="plot" aria-label={label} style={{ minHeight: `${shape.height}px` }}>
      <div ref={box} />
      {data[0].length < 2 && (
        <span class={loading ? 'nothing loading' : 'nothing'}>{loading ? 'Loading…' : empty}</span>
      )}
    </figure>
  );
}

function useWidth(box: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    if (box.current) observer.observe(box.current);
    return () => observer.disconnect();
  }, [box]);
  return width;
}
