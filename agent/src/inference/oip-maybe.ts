import { type TSchema, Type } from 'typebox';

/** A key that a server may leave out; what it does not know it may also write as null, as Python's `None` becomes. */
export const maybe = <T extends TSchema>(schema: T) => Type.Optional(Type.Union([schema, Type.Null()]));
