import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

/** The first page keeps the browser's own order, so that Tab finds the way past the header. */
let pagesShown = 0;

/** The page's one h1. It takes the focus when the page changes, so a screen reader starts where the eye does. */
export function PageHead({
  title,
  crumb,
  children,
}: {
  title: string;
  crumb?: ComponentChildren;
  children?: ComponentChildren;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (pagesShown++ > 0) heading.current?.focus({ preventScroll: true });
  }, []);
  useEffect(() => {
    document.title = `${title} · Skein`;
  }, [title]);
  return (
    <div class="page-head">
      {crumb && (
        <nav class="crumb" aria-label="Breadcrumb">
          {crumb}
        </nav>
      )}
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      {children}
    </div>
  );
}
