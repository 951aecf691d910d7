import { modelPath } from '@skein/agent/api/oip-path.ts';
import { describe, expect, it } from 'vitest';

describe('the path of a model', () => {
  it.each([
    ['/v2/models/gas', { name: 'gas', version: undefined, action: '' }],
    ['/v2/models/gas/infer', { name: 'gas', version: undefined, action: 'infer' }],
    ['/v2/models/gas/versions/1.0.0/stats', { name: 'gas', version: '1.0.0', action: 'stats' }],
    ['/v2/models/a%20b/versions/%31', { name: 'a b', version: '1', action: '' }],
    ['/v2/models/gas/trace/setting', { name: 'gas', version: undefined, action: 'trace/setting' }],
    ['/v2/models/gas/strange', { name: undefined }],
    ['/v2/models/', { name: undefined }],
    ['/v2/health/live', { name: undefined }],
  ])('is read from %s, whatever was read before', (path, expected) => {
    for (const before of [path, '/v2/models/other/versions/9/infer', '/v2/health/ready']) {
      modelPath(before);
      expect(modelPath(path)).toMatchObject(expected);
    }
  });

  it('is refused when it is not UTF-8, also right after one that is', () => {
    modelPath('/v2/models/gas/infer');
    expect(() => modelPath('/v2/models/%ff/infer')).toThrow(
      expect.objectContaining({ code: 'REQUEST_INVALID' }),
    );
    expect(modelPath('/v2/models/gas/infer')).toMatchObject({ name: 'gas', action: 'infer' });
  });
});
