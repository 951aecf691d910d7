import type { ModelView } from '@skein/protocol/api.ts';
import { bytes, count, shortHash } from '../data/format.ts';
import { hrefTo } from '../routes.ts';
import { Badge } from '../ui/badge.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';

/** One model with its versions, newest first. */
export function ModelCard({ name, versions }: { name: string; versions: ModelView[] }) {
  return (
    <section class="card flush" aria-labelledby={`model-${name}`}>
      <header>
        <h2 id={`model-${name}`}>{name}</h2>
        <span class="muted small">{versions[0]?.description}</span>
      </header>
      <table class="table cards">
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col">Variants</th>
            <th scope="col" class="number">
              Size
            </th>
            <th scope="col">Release</th>
            <th scope="col" class="number">
              Devices
            </th>
            <th scope="col">Published</th>
            <th scope="col">
              <span class="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {versions.map((model) => (
            <Row key={model.version} model={model} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ model }: { model: ModelView }) {
  const forbidden = model.revoked || model.release < model.floor;
  return (
    <tr>
      <td class="full">
        <strong>{model.version}</strong> {model.revoked && <Badge tone="bad">revoked</Badge>}
        {!model.revoked && forbidden && <Badge tone="warn">below the floor</Badge>}
        <div class="small muted mono" title={`manifest ${model.manifestSha256}`}>
          {shortHash(model.manifestSha256)}
        </div>
      </td>
      <td data-label="Variants" class="full">
        <ul>
          {model.variants.map((variant) => (
            <li key={variant.id} class="small">
              {variant.id}{' '}
              {variant.id !== variant.precision && <span class="muted">({variant.precision})</span>} ·{' '}
              {bytes(variant.sizeBytes)} · {accuracy(variant.accuracy)}
            </li>
          ))}
        </ul>
      </td>
      <td data-label="Size" class="number">
        {bytes(model.sizeBytes)}
      </td>
      <td data-label="Release">
        {model.release} <span class="small muted">floor {model.floor}</span>
      </td>
      <td data-label="Devices" class="number">
        {count(model.devices)}
      </td>
      <td data-label="Published">
        <RelativeTime at={model.publishedAt} />
      </td>
      <td>
        {!forbidden && (
          <a class="button" href={hrefTo({ page: 'new-rollout', model: model.name, version: model.version })}>
            Roll out
          </a>
        )}
      </td>
    </tr>
  );
}

/** Two decimals, never rounded up to a perfect score. */
const accuracy = (value: number | null): string =>
  value === null ? 'not measured' : `accuracy ${(Math.floor(value * 10_000) / 100).toFixed(2)} %`;
